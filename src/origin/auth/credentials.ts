/** What is known of who this node is at one origin. Never logged, never part of an error. */
export type Credentials =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** Sent as it is. */
  | { readonly kind: 'bearer'; readonly token: string }
  /** Exchanged for access tokens (OAuth 2 refresh token, docker's identity token). */
  | { readonly kind: 'identity'; readonly token: string };

/** Writes the header of Basic authentication (RFC 7617). */
export function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
