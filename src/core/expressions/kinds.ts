import { fail } from './failure.ts';
import { CelType, Duration, Optional } from './values.ts';

/**
 * The kinds of CEL values as bits, so that what an operand may be is one number and the same table serves the
 * check at save and the check at run.
 */
export const KIND = {
  null: 1,
  bool: 2,
  int: 4,
  double: 8,
  string: 16,
  bytes: 32,
  list: 64,
  map: 128,
  timestamp: 256,
  duration: 512,
  type: 1024,
  optional: 2048,
} as const;

/** A union of {@link KIND}s. */
export type KindSet = number;

export const ANY: KindSet = 4095;
export const NUMBER: KindSet = KIND.int | KIND.double;

type KindName = keyof typeof KIND;

/** How messages call a kind: JSON's words where JSON has one. */
const WORDS: Readonly<Record<KindName, string>> = {
  null: 'null',
  bool: 'a boolean',
  int: 'an int',
  double: 'a number',
  string: 'a string',
  bytes: 'bytes',
  list: 'a list',
  map: 'an object',
  timestamp: 'a timestamp',
  duration: 'a duration',
  type: 'a type',
  optional: 'an optional',
};

/** What `type(x)` answers, and the names under which expressions write types. */
const TYPE_NAMES: Readonly<Record<KindName, string>> = {
  null: 'null_type',
  bool: 'bool',
  int: 'int',
  double: 'double',
  string: 'string',
  bytes: 'bytes',
  list: 'list',
  map: 'map',
  timestamp: 'google.protobuf.Timestamp',
  duration: 'google.protobuf.Duration',
  type: 'type',
  optional: 'optional_type',
};

const NAMES = Object.keys(KIND) as readonly KindName[];

/** Types by the name an expression writes, e.g. `type(x) == string`. */
export const TYPES: ReadonlyMap<string, CelType> = new Map(
  Object.values(TYPE_NAMES).map((name) => [name, new CelType(name)]),
);

/** True for the objects JSON makes: no class instance, no proxy of the host's types. */
export function isPlainObject(value: object): value is Readonly<Record<string, unknown>> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** @throws ExpressionError for what is no CEL value, e.g. a function of the host. */
export function kindOf(value: unknown): KindSet {
  switch (typeof value) {
    case 'string':
      return KIND.string;
    case 'number':
      return KIND.double;
    case 'boolean':
      return KIND.bool;
    case 'bigint':
      return KIND.int;
    case 'undefined':
      return KIND.null;
    case 'object':
      return value === null ? KIND.null : kindOfObject(value);
    case 'function':
    case 'symbol':
    default:
      return fail(`A ${typeof value} is not data.`);
  }
}

function kindOfObject(value: object): KindSet {
  if (Array.isArray(value)) return KIND.list;
  if (isPlainObject(value)) return KIND.map;
  if (value instanceof Optional) return KIND.optional;
  if (value instanceof Date) return KIND.timestamp;
  if (value instanceof Duration) return KIND.duration;
  if (value instanceof Uint8Array) return KIND.bytes;
  if (value instanceof CelType) return KIND.type;
  return fail('A host object is not data.');
}

const nameOf = (kind: KindSet): KindName => NAMES[31 - Math.clz32(kind)] ?? 'null';

export const typeOf = (value: unknown): CelType | undefined => TYPES.get(TYPE_NAMES[nameOf(kindOf(value))]);

/** "a string", "a list or an object", in messages. */
export function describeKinds(kinds: KindSet): string {
  // An author means both by "a number"; the difference only matters where a message is about one of them.
  const wanted = (kinds & NUMBER) === NUMBER ? kinds & ~KIND.int : kinds;
  const words = NAMES.filter((name) => (wanted & KIND[name]) !== 0).map((name) => WORDS[name]);
  const last = words.pop() ?? 'nothing';
  return words.length === 0 ? last : `${words.join(', ')} or ${last}`;
}
