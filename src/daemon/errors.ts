import { CodedError } from '../lib/errors.ts';

export type DaemonErrorCode =
  /** Another process listens there. {key, address} */
  | 'DAEMON_PORT_TAKEN'
  /** The address may not be bound, or is not of this machine. {key, address} */
  | 'DAEMON_ADDRESS_REFUSED'
  /** `fleet.secretFile` cannot be read, or what it holds is too short. {path} */
  | 'DAEMON_SECRET_UNREADABLE';

export class DaemonError extends CodedError<DaemonErrorCode> {}
