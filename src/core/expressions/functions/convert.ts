import { fail, shorten } from '../failure.ts';
import { type Frame, makeCost, readCost, spend } from '../frame.ts';
import { MAX_JSON_DEPTH, textOf, toJsonValue } from '../json-value.ts';
import { ANY, KIND, NUMBER, typeOf } from '../kinds.ts';
import { toInt64 } from '../operators.ts';
import { makeTimestamp, parseDuration, parseTimestamp } from '../time.ts';
import { Duration } from '../values.ts';
import type { FunctionSpec } from './spec.ts';
import { textLength } from './text.ts';

const { bool, bytes, double, duration, int, list, map, string, timestamp, type } = KIND;

function size(frame: Frame, value: unknown): bigint {
  if (typeof value === 'string') return BigInt(textLength(frame, value));
  if (Array.isArray(value) || value instanceof Uint8Array) return BigInt(value.length);
  // The other kind that `size` takes is an object.
  const { length } = Object.keys(value as object);
  spend(frame, 1 + (length >> 4));
  return BigInt(length);
}

function toText(frame: Frame, value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return decodeUtf8(frame, value);
  if (value instanceof Date || value instanceof Duration) return textOf(value);
  // Number, int or boolean: 21.0 is "21", as in JSON.
  return String(value);
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(frame: Frame, value: Uint8Array): string {
  spend(frame, makeCost(value.length));
  try {
    return UTF8.decode(value);
  } catch {
    return fail('string() needs bytes that are UTF-8: these are not. Use .base64() or .hex().');
  }
}

function toInt(value: unknown): bigint {
  if (typeof value === 'bigint') return value;
  if (value instanceof Date) return BigInt(Math.floor(value.getTime() / 1000));
  if (typeof value === 'string') {
    if (!/^[+-]?\d{1,19}$/.test(value)) {
      fail(`int() needs a whole number in decimal digits, got "${shorten(value, 40)}".`);
    }
    return toInt64(BigInt(value.replace('+', '')));
  }
  const number = Math.trunc(value as number);
  return Number.isFinite(number) ? toInt64(BigInt(number)) : fail(`int() cannot convert ${number}.`);
}

function toUint(value: unknown): bigint {
  const number = toInt(value);
  return number < 0n ? fail(`uint() needs a number that is not negative, got ${number}.`) : number;
}

function toDouble(value: unknown): number {
  if (typeof value !== 'string') return Number(value);
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(value)) {
    fail(`double() needs a number, got "${shorten(value, 40)}".`);
  }
  return Number(value);
}

/** The spellings that CEL takes. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'true', 'TRUE', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'false', 'FALSE', 'False'].map((text) => [text, false] as const),
]);

function toBool(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  const text = value as string;
  return BOOLEANS.get(text) ?? fail(`bool() needs "true" or "false", got "${shorten(text, 40)}".`);
}

function toBytes(frame: Frame, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const text = value as string;
  spend(frame, makeCost(text.length));
  return new TextEncoder().encode(text);
}

/** Seconds since 1970, as an int or with a fraction, or RFC 3339. */
function toTimestamp(value: unknown): Date {
  if (value instanceof Date) return value;
  return typeof value === 'string' ? parseTimestamp(value) : makeTimestamp(Number(value) * 1000);
}

const toDuration = (value: unknown): Duration =>
  value instanceof Duration ? value : parseDuration(value as string);

function fromJson(frame: Frame, text: string): unknown {
  spend(frame, 1 + (text.length >> 3));
  try {
    // The conversion finds what nests too deeply; V8's parser does not recurse.
    return toJsonValue(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // V8's message quotes the text.
    return fail(`fromJson() needs JSON text of up to ${MAX_JSON_DEPTH} levels; this text is no JSON.`);
  }
}

function toJson(frame: Frame, value: unknown): string {
  const text = JSON.stringify(toJsonValue(value, frame.limits.maxOutputBytes));
  spend(frame, 1 + (text.length >> 3));
  return text;
}

const encode =
  (encoding: 'base64' | 'hex') =>
  (frame: Frame, value: unknown): string => {
    const { buffer, byteOffset, length } = value as Uint8Array;
    spend(frame, readCost(length) + makeCost(length));
    return Buffer.from(buffer, byteOffset, length).toString(encoding);
  };

const SIZED = string | bytes | list | map;

/** CEL's conversions, `size` and `type`, and the two that JSON calls for. */
export const CONVERSIONS: readonly FunctionSpec[] = [
  { name: 'size', args: [SIZED], returns: int, run: size },
  { name: 'size', on: SIZED, args: [], returns: int, run: size },
  { name: 'type', args: [ANY], returns: type, run: (_frame, value) => typeOf(value) },
  { name: 'dyn', args: [ANY], returns: ANY, run: (_frame, value) => value },
  {
    name: 'string',
    args: [string | NUMBER | bool | bytes | timestamp | duration],
    returns: string,
    run: toText,
  },
  { name: 'int', args: [NUMBER | string | timestamp], returns: int, run: (_frame, value) => toInt(value) },
  { name: 'uint', args: [NUMBER | string], returns: int, run: (_frame, value) => toUint(value) },
  { name: 'double', args: [NUMBER | string], returns: double, run: (_frame, value) => toDouble(value) },
  { name: 'bool', args: [bool | string], returns: bool, run: (_frame, value) => toBool(value) },
  { name: 'bytes', args: [bytes | string], returns: bytes, run: toBytes },
  { name: 'base64', on: bytes, args: [], returns: string, run: encode('base64') },
  { name: 'hex', on: bytes, args: [], returns: string, run: encode('hex') },
  {
    name: 'timestamp',
    args: [string | NUMBER | timestamp],
    returns: timestamp,
    run: (_frame, value) => toTimestamp(value),
    bind(literal) {
      const time = toTimestamp(literal);
      return () => time;
    },
  },
  {
    name: 'duration',
    args: [string | duration],
    returns: duration,
    run: (_frame, value) => toDuration(value),
    bind(literal) {
      const span = toDuration(literal);
      return () => span;
    },
  },
  { name: 'fromJson', args: [string], returns: ANY, run: (frame, text) => fromJson(frame, text as string) },
  { name: 'toJson', args: [ANY], returns: string, run: toJson },
];
