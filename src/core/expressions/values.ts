import { fail, shorten } from './failure.ts';

/*
 * The values JSON has no type for. They are classes because an expression's own objects must be told apart from
 * data by something data cannot imitate. All are immutable. Timestamps are `Date`, bytes are `Uint8Array`.
 */

const NANOS_PER_SECOND = 1_000_000_000n;

/** A span of time in nanoseconds, as `google.protobuf.Duration`. */
export class Duration {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    this.nanos = nanos;
  }

  /** Seconds with a fraction where there is one: `90s`, `-1.5s` (the JSON form of `google.protobuf.Duration`). */
  toString(): string {
    const magnitude = this.nanos < 0n ? -this.nanos : this.nanos;
    const fraction = (magnitude % NANOS_PER_SECOND).toString().padStart(9, '0').replace(/0+$/, '');
    const seconds = `${magnitude / NANOS_PER_SECOND}${fraction === '' ? '' : `.${fraction}`}`;
    return `${this.nanos < 0n ? '-' : ''}${seconds}s`;
  }
}

/** A value that may be absent, from `.?key`, `[?key]` and `optional.of(...)`. */
export class Optional {
  readonly present: boolean;
  readonly value: unknown;
  private constructor(present: boolean, value: unknown) {
    this.present = present;
    this.value = value;
  }

  static readonly none = new Optional(false, undefined);
  static of(value: unknown): Optional {
    return new Optional(true, value);
  }
}

/** What `type(x)` gives, e.g. `string`. */
export class CelType {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** Sets a key as data, also `__proto__`: an assignment would call the setter where the host still has one. */
export function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[key] = value;
  }
}

/**
 * The key under which an object holds `key`. Objects are JSON's, so all keys are strings: `{1: "a"}[n]` and
 * `byId[trigger.body.id]` find `"1"` and `"42"` when they are given numbers.
 */
export function mapKey(key: unknown): string {
  if (typeof key === 'string') return key;
  if (typeof key === 'bigint' || typeof key === 'number' || typeof key === 'boolean') return String(key);
  return fail('A key of an object must be a string, a number or a boolean.');
}

/** The place in a list that `index` names, or undefined when it is no whole number. */
export function listIndex(index: unknown): number | undefined {
  if (typeof index === 'bigint') return Number(index);
  return typeof index === 'number' && Number.isInteger(index) ? index : undefined;
}

/** A key as messages show it; it may come from a payload. */
export const quoteKey = (key: unknown): string =>
  typeof key === 'string' ? `\`${shorten(key)}\`` : shorten(String(key));
