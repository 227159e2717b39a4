import type { z } from 'zod';
import type { ParsedFile } from './file.ts';
import { configKeys, findConfigKey } from './keys.ts';
import type { ValueOrigin } from './layers.ts';

/** One thing that is wrong, with the place a person has to go to. */
export interface ConfigProblem {
  /** `shoal.yaml:3:5`, `SHOAL_REGISTRY_LISTEN` or `--registry.listen` */
  readonly place: string;
  readonly path: string;
  readonly text: string;
}

/** Says what the schema refused, each at the place where the value was written. */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  originOf: (path: readonly PropertyKey[]) => ValueOrigin,
  file: { readonly path: string; readonly parsed: ParsedFile } | undefined,
): readonly ConfigProblem[] {
  const place = (path: readonly PropertyKey[]): string => {
    const origin = originOf(path);
    if (origin.kind === 'flag') return origin.flag;
    if (origin.kind === 'environment') return origin.variable;
    if (file === undefined) return 'default';
    const { line, column } = file.parsed.positionOf(path);
    return `${file.path}:${line}:${column}`;
  };
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        return { place: place(path), path: path.join('.'), text: `unknown key "${path.join('.')}"${suggestion(path)}` };
      });
    }
    const path = issue.path.join('.');
    // A variable or a flag is the key's own name already.
    const isNamed = path === '' || originOf(issue.path).kind === 'environment' || originOf(issue.path).kind === 'flag';
    return [{ place: place(issue.path), path, text: isNamed ? message(issue) : `${path}: ${message(issue)}` }];
  });
}

function message(issue: z.core.$ZodIssue): string {
  return issue.message.replace(/^Invalid (?:input|option|string): /, '');
}

function suggestion(path: readonly PropertyKey[]): string {
  const text = path.join('.').toLowerCase();
  let best: { path: string; distance: number } | undefined;
  const candidates = new Set(
    configKeys.flatMap((key) => key.segments.map((_, at) => key.segments.slice(0, at + 1).join('.'))),
  );
  for (const candidate of candidates) {
    const distance = editDistance(text, candidate.toLowerCase());
    if (best === undefined || distance < best.distance) best = { path: candidate, distance };
  }
  // Two slips in a word are a typing error, more are another word.
  if (best !== undefined && best.distance <= 2) return `; did you mean "${best.path}"?`;
  const last = String(path.at(-1)).toLowerCase();
  const elsewhere = configKeys.find((key) => key.segments.at(-1)?.toLowerCase() === last);
  return elsewhere === undefined ? '' : `; did you mean "${elsewhere.path}"?`;
}

/** Levenshtein distance by the two-row table, O(length of one times the other); keys are short. */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** Returns the key that a path of the schema lies in: `origins.docker.io.url` lies in `origins`. */
export function owningKey(path: readonly PropertyKey[]): string | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const key = findConfigKey(path.slice(0, length).join('.'));
    if (key !== undefined) return key.path;
  }
  return undefined;
}
