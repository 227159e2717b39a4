import { CodedError } from '../lib/errors.ts';

export type CliErrorCode =
  /** The command line cannot be understood. */
  | 'CLI_USAGE'
  /** No daemon answers at the admin address. {address} */
  | 'CLI_UNREACHABLE'
  /** The daemon refused or failed the request. {status, code} */
  | 'CLI_REFUSED'
  /** What answered is not Shoal's admin API. {address} */
  | 'CLI_BAD_ANSWER'
  /** A daemon of the demo did not become ready, or ended. {node} */
  | 'CLI_DEMO_NODE'
  /** An image pulled by the demo was wrong or incomplete. {node, digest} */
  | 'CLI_DEMO_UNVERIFIED';

export class CliError extends CodedError<CliErrorCode> {}
