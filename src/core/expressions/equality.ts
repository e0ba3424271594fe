import { failLimit } from './failure.ts';
import { type Frame, spend } from './frame.ts';
import { isPlainObject, kindOf, NUMBER, KIND } from './kinds.ts';
import { CelType, Duration, mapKey, Optional } from './values.ts';

/** Data nests at most 100 levels; what is far beyond that did not come from JSON. */
const MAX_COMPARED_DEPTH = 500;

/**
 * CEL's `==`: int and double compare by value, lists and objects by their members, and values of different kinds
 * are unequal, which is no error.
 */
export const isEqual = (frame: Frame, left: unknown, right: unknown): boolean =>
  equal(frame, left, right, MAX_COMPARED_DEPTH);

function equal(frame: Frame, left: unknown, right: unknown, depth: number): boolean {
  switch (typeof left) {
    case 'string':
      if (typeof right !== 'string' || left.length !== right.length) return false;
      if (left.length > 256) spend(frame, left.length >> 8);
      return left === right;
    case 'number':
    case 'bigint':
      // Loose equality compares an int with a double exactly, without rounding either.
      // oxlint-disable-next-line eqeqeq
      return (typeof right === 'number' || typeof right === 'bigint') && left == right;
    case 'object':
      return left === null ? isNullish(right) : equalObjects(frame, left, right, depth);
    case 'undefined':
      return isNullish(right);
    case 'boolean':
    case 'function':
    case 'symbol':
    default:
      return left === right;
  }
}

/** Data that is undefined counts as null, as it does in JSON's lists. */
const isNullish = (value: unknown): boolean => value === null || value === undefined;

function equalObjects(frame: Frame, left: object, right: unknown, depth: number): boolean {
  if (typeof right !== 'object' || right === null) return false;
  if (depth === 0) failLimit('The values are nested too deeply to be compared.');
  if (Array.isArray(left)) return Array.isArray(right) && equalLists(frame, left, right, depth - 1);
  if (isPlainObject(left)) return isPlainObject(right) && equalMaps(frame, left, right, depth - 1);
  if (left instanceof Date) return right instanceof Date && left.getTime() === right.getTime();
  if (left instanceof Duration) return right instanceof Duration && left.nanos === right.nanos;
  if (left instanceof Uint8Array)
    return right instanceof Uint8Array && compareBytes(frame, left, right) === 0;
  if (left instanceof CelType) return right instanceof CelType && left.name === right.name;
  if (left instanceof Optional) {
    return (
      right instanceof Optional &&
      left.present === right.present &&
      equal(frame, left.value, right.value, depth - 1)
    );
  }
  return false;
}

function equalLists(
  frame: Frame,
  left: readonly unknown[],
  right: readonly unknown[],
  depth: number,
): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) {
    spend(frame, 1);
    if (!equal(frame, left[i], right[i], depth)) return false;
  }
  return true;
}

function equalMaps(
  frame: Frame,
  left: Readonly<Record<string, unknown>>,
  right: Readonly<Record<string, unknown>>,
  depth: number,
): boolean {
  const keys = Object.keys(left);
  spend(frame, 1 + keys.length);
  if (keys.length !== Object.keys(right).length) return false;
  return keys.every((key) => Object.hasOwn(right, key) && equal(frame, left[key], right[key], depth));
}

function compareBytes(frame: Frame, left: Uint8Array, right: Uint8Array): number {
  spend(frame, Math.min(left.length, right.length) >> 8);
  return Buffer.compare(left, right);
}

/**
 * Order of two values of one kind: negative, zero, positive; NaN when they have none (a NaN). Strings are ordered by
 * their UTF-16 units.
 */
export function compare(frame: Frame, left: unknown, right: unknown): number | undefined {
  if (typeof left === 'string' && typeof right === 'string') {
    spend(frame, Math.min(left.length, right.length) >> 8);
    return order(left, right);
  }
  const kinds = kindOf(left) | kindOf(right);
  if ((kinds & ~NUMBER) === 0) return order(left as number | bigint, right as number | bigint);
  if (left instanceof Date && right instanceof Date) return order(left.getTime(), right.getTime());
  if (left instanceof Duration && right instanceof Duration) return order(left.nanos, right.nanos);
  if (left instanceof Uint8Array && right instanceof Uint8Array) return compareBytes(frame, left, right);
  if (kinds === KIND.bool) return Number(left) - Number(right);
  return undefined;
}

function order<T extends string | number | bigint>(left: T, right: T): number {
  if (left < right) return -1;
  if (left > right) return 1;
  // oxlint-disable-next-line eqeqeq -- an int and a double of the same value
  return left == right ? 0 : Number.NaN;
}

/** CEL's `in`: an equal member of a list, or a key of an object. Undefined when `container` is neither. */
export function isMember(frame: Frame, member: unknown, container: unknown): boolean | undefined {
  if (Array.isArray(container)) {
    for (const candidate of container as readonly unknown[]) {
      spend(frame, 1);
      if (isEqual(frame, member, candidate)) return true;
    }
    return false;
  }
  if (typeof container !== 'object' || container === null || !isPlainObject(container)) return undefined;
  const key = mapKey(member);
  return Object.hasOwn(container, key) && container[key] !== undefined;
}
