import type { ScheduleOptions } from './schedule/options.ts';

export interface SwarmOptions {
  readonly schedule: ScheduleOptions;
  /** Where this node's bulk plane listens; asked when a link opens, since the port may be chosen by the system. */
  readonly bulkPort: number;
  /** The host others reach it at; absent = the one this node's connections come from. */
  readonly bulkHost?: string;
  readonly zone: string;
  readonly uploadSlots: number;
  /** Requests that may wait for a slot; more are told to come back. */
  readonly uploadWaiting: number;
  readonly uploadRetryAfterMs: number;
  /** 0 = unlimited. */
  readonly uploadBytesPerSecond: number;
  readonly downloadBytesPerSecond: number;
  /** How long the directory may take before the origin is asked without its answer. */
  readonly directoryTimeoutMs: number;
  /** How long nodes that start at the same moment have to be heard of before this node starts at the origin. */
  readonly settleMs: number;
  /** How long members that were greeted have to answer what they hold and claim. */
  readonly settleMaxMs: number;
  /** How long a download that has pieces or members may stand still before it fails. */
  readonly patienceMs: number;
  /** How long a failed download with pieces is tried again in the background. */
  readonly resumeForMs: number;
  readonly banMs: number;
}
