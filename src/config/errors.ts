import { CodedError } from '../lib/errors.ts';

export type ConfigErrorCode =
  /** The file named cannot be read. {path} */
  | 'CONFIG_UNREADABLE'
  /** The file is not YAML, or a key or a value is not accepted. {problems: ConfigProblem[]} */
  | 'CONFIG_INVALID';

export class ConfigError extends CodedError<ConfigErrorCode> {}
