/** How the command ends; scripts may rely on these numbers. */
export const exitCodes = {
  done: 0,
  bug: 1,
  usage: 2,
  config: 3,
  address: 4,
  locked: 5,
  dataDir: 6,
  oldNode: 7,
  unreachable: 8,
  failed: 9,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each number means, for help texts and the reference page. */
export const exitCodeTexts: Readonly<Record<ExitCode, string>> = {
  0: 'done',
  1: 'a bug in Shoal; please report it with the output of --debug',
  2: 'the command line cannot be understood',
  3: 'the configuration is wrong',
  4: 'an address cannot be bound: taken, privileged, or not of this machine',
  5: 'the data directory is in use by another process',
  6: 'the data directory cannot be used: not writable, disk full, damaged, or of a newer version',
  7: 'Node is too old',
  8: 'no daemon answers at the admin address',
  9: 'the request failed: unknown image, refused by the origin, nothing can serve it, or not verified',
  130: 'interrupted',
};

/** Writes the lines of a help text for the codes a command can end with. */
export function exitCodeHelp(codes: readonly ExitCode[]): string {
  return ['Exit codes:', ...codes.map((code) => `  ${String(code).padStart(3)}  ${exitCodeTexts[code]}`)].join('\n');
}
