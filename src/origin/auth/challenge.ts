/** One challenge of a WWW-Authenticate header; names and the scheme are in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly token68?: string;
}

// Longer than any known registry's; a header beyond it is not worth reading.
const maxHeaderChars = 8192;

const tokenPattern = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const token68Pattern = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const parameterPattern =
  /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z:/?&=]*))/y;
const separatorPattern = /(?:[ \t]*,)+[ \t]*/y;
const spacePattern = /[ \t]+/y;

/**
 * Reads every challenge of a header (RFC 9110 section 11.6.1). A comma separates both challenges and parameters, so a name counts
 * as a parameter only if `=` and a value follow. Reading stops at the first thing that fits no rule; what was read before counts.
 * Unquoted values may hold the characters of a URL, as some registries forget the quotes.
 */
export function readChallenges(header: string): readonly Challenge[] {
  if (header.length > maxHeaderChars) return [];
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };

  take(spacePattern);
  take(separatorPattern);
  for (;;) {
    const scheme = take(tokenPattern)?.[0].toLowerCase();
    if (scheme === undefined) return challenges;
    const parameters = new Map<string, string>();
    let token68: string | undefined;
    if (take(spacePattern) !== null) {
      token68 = take(token68Pattern)?.[0];
      while (token68 === undefined) {
        const before = at;
        if (parameters.size > 0 && take(separatorPattern) === null) break;
        const parameter = take(parameterPattern);
        if (parameter === null) {
          at = before;
          break;
        }
        const [, name = '', quoted, bare = ''] = parameter;
        const value = quoted === undefined ? bare : quoted.replace(/\\(.)/g, '$1');
        if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), value);
      }
    }
    challenges.push(token68 === undefined ? { scheme, parameters } : { scheme, parameters, token68 });
    take(spacePattern);
    if (take(separatorPattern) === null) return challenges;
  }
}
