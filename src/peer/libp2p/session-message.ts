import { WireReader, WireWriter } from '../../lib/wire.ts';

/** Peers of another major version are refused; a minor version only adds what the other side may ignore. */
export const protocolMajor = 1;
export const protocolMinor = 0;

const refusalReasons = ['version', 'banned', 'protocol'] as const;
export type RefusalReason = (typeof refusalReasons)[number];

export interface Hello {
  readonly kind: 'hello';
  readonly major: number;
  readonly minor: number;
  /** The product's version, for logs and for people. */
  readonly version: string;
}

/**
 * What travels on a connection's session stream: the dialler's hello, the answer's hello or refusal, the dialler's ready, then pings.
 */
export type SessionMessage =
  | Hello
  | { readonly kind: 'refusal'; readonly reason: RefusalReason }
  | { readonly kind: 'ready' }
  | { readonly kind: 'ping' }
  | { readonly kind: 'pong' };

const kinds = ['hello', 'refusal', 'ready', 'ping', 'pong'] as const;
const maxVersionBytes = 64;
/** The longest message is a hello; whatever is longer is not a session. */
export const maxSessionMessageBytes = 128;

export function encodeSessionMessage(message: SessionMessage): Uint8Array {
  const writer = new WireWriter().number(kinds.indexOf(message.kind));
  if (message.kind === 'hello') writer.number(message.major).number(message.minor).text(message.version.slice(0, 48));
  if (message.kind === 'refusal') writer.number(refusalReasons.indexOf(message.reason));
  return writer.finish();
}

/**
 * Reads a message; bytes after a hello of another version are its own business.
 * @throws WIRE_INVALID
 */
export function decodeSessionMessage(bytes: Uint8Array): SessionMessage {
  const reader = new WireReader(bytes);
  const kind = kinds[reader.number(kinds.length - 1)] ?? 'hello';
  switch (kind) {
    case 'hello':
      return {
        kind,
        major: reader.number(65_535),
        minor: reader.number(65_535),
        version: reader.text(maxVersionBytes),
      };
    case 'refusal':
      return { kind, reason: refusalReasons[reader.number(refusalReasons.length - 1)] ?? 'protocol' };
    default:
      reader.end();
      return { kind };
  }
}
