import type { JsonValue } from '../json.ts';
import { fail, failLimit } from './failure.ts';
import { isPlainObject } from './kinds.ts';
import { CelType, Duration, mapKey, Optional, setOwn } from './values.ts';

/** How deeply results may nest; the same bound as for what comes in (SECURITY section 5). */
export const MAX_JSON_DEPTH = 100;

const DEFAULT_MAX_BYTES = 67_108_864;

/** Bytes that a value may still take as JSON; shared by the parts of one result. */
export interface SizeBudget {
  remaining: number;
  readonly maxBytes: number;
}

export const sizeBudget = (maxBytes: number): SizeBudget => ({ remaining: maxBytes, maxBytes });

/**
 * `value` as JSON: JSON data is returned as it is (not copied); whole numbers become integers, timestamps RFC 3339
 * with milliseconds, durations `"90s"`, bytes base64, `Map`s objects, `Set`s lists, an absent optional null, and
 * properties that are undefined are left out. Getters and `toJSON` are never called on class instances: those are
 * refused, as are functions, symbols, NaN, infinities and integers beyond ±(2^53−1).
 *
 * @param maxBytes Size of the result as JSON text in UTF-8; 64 MiB unless given.
 * @throws ExpressionError `expression_error` for what is no JSON or nests deeper than {@link MAX_JSON_DEPTH},
 *   `expression_limit` for what is too large.
 */
export const toJsonValue = (value: unknown, maxBytes: number = DEFAULT_MAX_BYTES): JsonValue =>
  convert(value, sizeBudget(maxBytes), 0);

/** {@link toJsonValue} that takes its size from a budget. */
export const toBudgetedJson = (value: unknown, budget: SizeBudget): JsonValue => convert(value, budget, 0);

/** Bytes that `value` takes as JSON text. */
export function jsonSize(value: JsonValue): number {
  const budget = sizeBudget(Number.MAX_SAFE_INTEGER);
  convert(value, budget, 0);
  return budget.maxBytes - budget.remaining;
}

/** Takes `bytes` from the budget. @throws ExpressionError `expression_limit` when there are not so many left. */
export function take(budget: SizeBudget, bytes: number): void {
  budget.remaining -= bytes;
  if (budget.remaining < 0) failLimit(`The result is larger than ${budget.maxBytes} bytes.`);
}

function convert(value: unknown, budget: SizeBudget, depth: number): JsonValue {
  switch (typeof value) {
    case 'string':
      takeString(budget, value);
      return value;
    case 'number':
      return convertNumber(value, budget);
    case 'boolean':
      take(budget, value ? 4 : 5);
      return value;
    case 'bigint':
      return convertInt(value, budget);
    case 'undefined':
      take(budget, 4);
      return null;
    case 'object':
      if (value !== null) return convertObject(value, budget, depth);
      take(budget, 4);
      return null;
    case 'function':
    case 'symbol':
    default:
      return fail(`A ${typeof value} is not data and cannot be part of a result.`);
  }
}

function convertNumber(value: number, budget: SizeBudget): number {
  if (!Number.isFinite(value)) {
    fail(
      `A result cannot hold ${value}: JSON has no such number. Look for a division by zero or an overflow.`,
    );
  }
  // JSON has no negative zero; JSON.stringify writes it as 0 too.
  const number = value === 0 ? 0 : value;
  take(budget, String(number).length);
  return number;
}

function convertInt(value: bigint, budget: SizeBudget): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    fail(
      'A result cannot hold an integer beyond ±9007199254740991 (2^53−1): JSON readers would round it. Use string(...).',
    );
  }
  return convertNumber(number, budget);
}

function convertObject(value: object, budget: SizeBudget, depth: number): JsonValue {
  if (value instanceof Date || value instanceof Duration || value instanceof Uint8Array) {
    return convert(textOf(value), budget, depth);
  }
  if (value instanceof CelType) return convert(value.name, budget, depth);
  if (value instanceof Optional) return convert(value.present ? value.value : null, budget, depth);
  if (depth >= MAX_JSON_DEPTH) fail(`A result cannot nest deeper than ${MAX_JSON_DEPTH} levels.`);
  if (Array.isArray(value)) return convertList(value, budget, depth + 1);
  if (isPlainObject(value)) return convertMap(value, budget, depth + 1);
  if (value instanceof Set) return convertList([...value], budget, depth + 1);
  if (value instanceof Map) {
    const object: Record<string, unknown> = {};
    for (const [key, entry] of value as ReadonlyMap<unknown, unknown>) setOwn(object, mapKey(key), entry);
    return convertMap(object, budget, depth + 1);
  }
  return fail('An object of the host is not data and cannot be part of a result.');
}

/** The text that stands for a value JSON has no type for. */
export function textOf(value: Date | Duration | Uint8Array): string {
  if (value instanceof Duration) return value.toString();
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64');
  if (Number.isNaN(value.getTime())) fail('A result cannot hold an invalid time.');
  return value.toISOString();
}

/** Copies only when a member changes, so that data passes through untouched and unscanned by the allocator. */
function convertList(list: readonly unknown[], budget: SizeBudget, depth: number): readonly JsonValue[] {
  take(budget, list.length === 0 ? 2 : list.length + 1);
  let copy: JsonValue[] | undefined;
  for (let i = 0; i < list.length; i++) {
    const member = list[i];
    const converted = convert(member, budget, depth);
    if (copy === undefined && !Object.is(converted, member)) copy = list.slice(0, i) as JsonValue[];
    copy?.push(converted);
  }
  // Without a copy, every member was found to be JSON.
  return copy ?? (list as readonly JsonValue[]);
}

function convertMap(
  map: Readonly<Record<string, unknown>>,
  budget: SizeBudget,
  depth: number,
): { readonly [key: string]: JsonValue } {
  const keys = Object.keys(map);
  take(budget, keys.length === 0 ? 2 : 1);
  let copy: Record<string, JsonValue> | undefined;
  for (let i = 0; i < keys.length; i++) {
    // i < keys.length
    const key = keys[i]!;
    const member = map[key];
    if (member === undefined) {
      copy ??= copyOf(map, keys, i);
      continue;
    }
    takeString(budget, key);
    take(budget, 2);
    const converted = convert(member, budget, depth);
    if (copy === undefined && !Object.is(converted, member)) copy = copyOf(map, keys, i);
    if (copy !== undefined) setOwn(copy, key, converted);
  }
  return copy ?? (map as { readonly [key: string]: JsonValue });
}

function copyOf(
  map: Readonly<Record<string, unknown>>,
  keys: readonly string[],
  end: number,
): Record<string, JsonValue> {
  const copy: Record<string, JsonValue> = {};
  // The first `end` members were found to be JSON.
  for (const key of keys.slice(0, end)) setOwn(copy, key, map[key]);
  return copy;
}

/** Takes the size of `text` as a JSON string, quotes and escapes included, without making that string. */
export function takeString(budget: SizeBudget, text: string): void {
  const length = text.length;
  // Every character takes a byte at least: a long string is refused before it is read.
  take(budget, length + 2);
  let extra = 0;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x20 && code < 0x80) {
      if (code === 0x22 || code === 0x5c) extra += 1;
    } else if (code < 0x20) {
      extra += isShortEscape(code) ? 1 : 5;
    } else if (code < 0x800) {
      extra += 1;
    } else if (code < 0xd800 || code > 0xdfff) {
      extra += 2;
    } else if (code < 0xdc00 && isLowSurrogate(text.charCodeAt(i + 1))) {
      // A pair is four bytes for two units.
      extra += 2;
      i++;
    } else {
      // JSON.stringify escapes a lone surrogate.
      extra += 5;
    }
  }
  if (extra > 0) take(budget, extra);
}

/** \b \t \n \f \r */
const isShortEscape = (code: number): boolean => code >= 8 && code <= 13 && code !== 11;
const isLowSurrogate = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff;
