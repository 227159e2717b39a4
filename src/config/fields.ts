import { z } from 'zod';
import { findDurationMs, findListenAddress, findSizeBytes, type ListenAddress } from './values.ts';

/** How a key is written in the environment and on the command line. */
export type FieldKind = 'text' | 'number' | 'boolean' | 'size' | 'duration' | 'address' | 'list' | 'map';

export interface FieldInfo {
  readonly kind: FieldKind;
  /** What the value means; the reference page and the help text are made from it. */
  readonly text: string;
  /** The default in words, where it depends on the machine. */
  readonly defaultText?: string;
  /** Never shown in `config show`, logs or reports. */
  readonly isSecret?: boolean;
}

const registry = z.registry<FieldInfo>();

/** Returns what is known about a key's schema; undefined for sections. */
export function findFieldInfo(schema: z.core.$ZodType): FieldInfo | undefined {
  return registry.get(schema as z.ZodType);
}

/** Declares a key that always has a value. The default is written as a person would write it. */
export function field<Schema extends z.ZodType>(
  kind: FieldKind,
  schema: Schema,
  byDefault: z.input<Schema>,
  text: string,
): z.ZodPrefault<Schema> {
  const defaulted = schema.prefault(byDefault as never) as z.ZodPrefault<Schema>;
  const described = defaulted.describe(text);
  registry.add(described, { kind, text });
  return described;
}

/** Declares a key that may be absent. */
export function optionalField<Schema extends z.ZodType>(
  kind: FieldKind,
  schema: Schema,
  text: string,
  more: Pick<FieldInfo, 'defaultText' | 'isSecret'> = {},
): z.ZodOptional<Schema> {
  const described = z.optional(schema).describe(text);
  registry.add(described, { kind, text, ...more });
  return described;
}

const reading = <Input extends string | number, Output>(
  input: z.ZodType<Input, Input>,
  find: (value: Input) => Output | undefined,
  expected: string,
) =>
  input.transform((value, context): Output => {
    const found = find(value);
    if (found !== undefined) return found;
    context.addIssue({ code: 'custom', message: `expected ${expected}, got ${JSON.stringify(value)}` });
    return z.NEVER;
  });

const textOrNumber = z.union([z.string(), z.number()], { error: 'expected text or a number' });

/** A size in bytes, from `10GiB` or a number. */
export const size = reading<string | number, number>(textOrNumber, findSizeBytes, 'a size such as 512MiB or 10GiB');

/** A time in milliseconds, from `30s`; a bare number is refused because its unit would be a guess. */
export const duration = reading<string | number, number>(
  textOrNumber,
  (value) => findDurationMs(String(value)),
  'a time with its unit, such as 500ms, 30s or 5m',
);

export const listenAddress = reading<string | number, ListenAddress>(
  textOrNumber,
  findListenAddress,
  'host:port, such as 127.0.0.1:5000 or [::]:5002',
);

/** Where others reach what listens here; the host may be left out, a port chosen by the system may not be told. */
export const reachableAddress = reading<string | number, ListenAddress>(
  textOrNumber,
  (value) => {
    const found = findListenAddress(value);
    // What is told to other nodes must be what they take for a host.
    return found !== undefined && found.port > 0 && /^[A-Za-z0-9._:-]+$/.test(found.host) ? found : undefined;
  },
  'host:port or a port, such as 192.0.2.7:15003',
);

/** An address to dial: the port is not optional, and what begins with a slash is libp2p's to read. */
export const dialAddress = z
  .string()
  .max(512)
  .regex(
    /^(?:\/(?:ip4|ip6|dns|dns4|dns6|dnsaddr)\/[^\s]+\/tcp\/\d{1,5}(?:\/[^\s]*)?|(?:\[[0-9a-f:.]+\]|[^\s:[\]/]+):\d{1,5})$/i,
    {
      error: 'expected host:port or a multiaddr with a TCP port',
    },
  );

/** A whole number within bounds; digits count as a number, since the environment knows only text. */
export const integer = (min: number, max: number) =>
  reading<string | number, number>(
    textOrNumber,
    (value) => {
      const found = typeof value === 'number' ? value : /^\d{1,12}$/.test(value) ? Number(value) : Number.NaN;
      return Number.isInteger(found) && found >= min && found <= max ? found : undefined;
    },
    `a whole number from ${min} to ${max}`,
  );

/** A namespace is an origin's host name, with its port where it has one. */
export const namespace = z
  .string()
  .regex(
    /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?::\d{1,5})?$|^\[[0-9a-f:]+\](?::\d{1,5})?$/,
    {
      error: 'expected a registry host name in lower case, such as docker.io or registry.lan:5000',
    },
  )
  .max(253);

/** A namespace in which `*` stands for any run of characters. */
export const namespacePattern = z
  .string()
  .regex(/^[a-z0-9.:*[\]-]+$/, {
    error: 'expected a registry host name in lower case, such as ghcr.io or *.example.org',
  })
  .max(253);
