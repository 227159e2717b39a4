/**
 * Walks JSON text once, without building anything, and tells why it is too deep or too wide; undefined when it is within the
 * bounds. It does not check the syntax: it only makes sure that `JSON.parse` cannot be made to build millions of objects from
 * a few megabytes of brackets.
 */
export function findJsonExcess(
  bytes: Uint8Array,
  bounds: { readonly maxDepth: number; readonly maxContainers: number },
): string | undefined {
  let depth = 0;
  let containers = 0;
  let isInText = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (isInText) {
      if (byte === backslash) at += 1;
      else if (byte === quote) isInText = false;
    } else if (byte === quote) {
      isInText = true;
    } else if (byte === openBrace || byte === openBracket) {
      depth += 1;
      containers += 1;
      if (depth > bounds.maxDepth) return `nested more than ${bounds.maxDepth} deep`;
      if (containers > bounds.maxContainers) return `more than ${bounds.maxContainers} objects and lists`;
    } else if (byte === closeBrace || byte === closeBracket) {
      depth -= 1;
    }
  }
  return undefined;
}

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
