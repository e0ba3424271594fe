import { fail } from '../failure.ts';
import { type Frame, makeCost, readCost, spend } from '../frame.ts';

/*
 * CEL counts characters by code point, JavaScript by UTF-16 unit. Both agree for texts without surrogates, which is
 * nearly all of them; for the others, places are translated.
 */
const SURROGATE = /[\ud800-\udfff]/;

const isFlat = (text: string): boolean => !SURROGATE.test(text);

/** Units of the code point at `unit`: 2 for a pair. */
const widthAt = (text: string, unit: number): number => ((text.codePointAt(unit) ?? 0) > 0xffff ? 2 : 1);

/** Code points before `end`, a place in units. */
function pointsBefore(text: string, end: number): number {
  let count = 0;
  for (let unit = 0; unit < end; unit += widthAt(text, unit)) count += 1;
  return count;
}

/** The place in units of code point number `point`. */
function unitOf(text: string, point: number): number {
  let unit = 0;
  for (let i = 0; i < point; i++) unit += widthAt(text, unit);
  return unit;
}

export function textLength(frame: Frame, text: string): number {
  spend(frame, readCost(text.length));
  return isFlat(text) ? text.length : pointsBefore(text, text.length);
}

/** Makes a list of all characters, which takes far more memory than the text. */
export function codePoints(frame: Frame, text: string): readonly string[] {
  spend(frame, 1 + (text.length >> 1));
  return Array.from(text);
}

/** @throws ExpressionError when `0 <= start <= end <= length` does not hold. */
export function substring(frame: Frame, text: string, start: number, end: number | undefined): string {
  const length = textLength(frame, text);
  const stop = end ?? length;
  if (start < 0 || start > stop || stop > length) {
    fail(`substring(${start}, ${stop}) is out of range: the string has ${length} characters.`);
  }
  // As many code points as units means that there are no pairs.
  if (length === text.length) return text.slice(start, stop);
  return text.slice(unitOf(text, start), unitOf(text, stop));
}

export function charAt(frame: Frame, text: string, index: number): string {
  const length = textLength(frame, text);
  if (index < 0 || index > length) {
    fail(`charAt(${index}) is out of range: the string has ${length} characters.`);
  }
  return index === length ? '' : substring(frame, text, index, index + 1);
}

/**
 * Pays for a search. V8's `includes` and `lastIndexOf` take time in proportion to text × part at worst, 0.13 and
 * 0.26 ns each, which 300 kB in 700 kB make 15 and 30 s: both may come from a payload.
 */
export function spendSearch(frame: Frame, text: string, part: string): void {
  const starts = Math.max(0, text.length - part.length + 1);
  spend(frame, readCost(text.length) + Math.floor((starts * part.length) / 4096));
}

/** Place of `part` in code points from `from` on, or −1. */
export function indexOf(frame: Frame, text: string, part: string, from = 0): number {
  return find(frame, text, part, from, 'indexOf', (unit) => text.indexOf(part, unit));
}

/** Place of the last `part` that starts at `from` or before, or −1. */
export function lastIndexOf(frame: Frame, text: string, part: string, from?: number): number {
  return find(frame, text, part, from, 'lastIndexOf', (unit) => text.lastIndexOf(part, unit));
}

function find(
  frame: Frame,
  text: string,
  part: string,
  from: number | undefined,
  name: string,
  search: (unit: number | undefined) => number,
): number {
  spendSearch(frame, text, part);
  const length = textLength(frame, text);
  if (from !== undefined && (from < 0 || from > length)) {
    fail(`${name}(…, ${from}) is out of range: the string has ${length} characters.`);
  }
  if (length === text.length) return search(from);
  const unit = search(from === undefined ? undefined : unitOf(text, from));
  return unit < 0 ? unit : pointsBefore(text, unit);
}

/** Parts between `separator`s, at most `limit` of them; the last then holds the rest. A negative limit is none. */
export function split(frame: Frame, text: string, separator: string, limit = -1): readonly string[] {
  if (limit === 0) return [];
  spendSearch(frame, text, separator);
  const parts = separator === '' ? [...codePoints(frame, text)] : text.split(separator);
  spend(frame, parts.length + makeCost(text.length));
  if (limit < 0 || parts.length <= limit) return parts;
  return [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(separator)];
}

/** The first `limit` occurrences of `old` replaced, all when it is negative. */
export function replace(frame: Frame, text: string, old: string, by: string, limit = -1): string {
  if (limit === 0) return text;
  // The parts are as many as the text is long at most, and paid for; the result may be far longer than both.
  const parts =
    old === '' ? aroundEach(frame, text, limit) : split(frame, text, old, limit < 0 ? -1 : limit + 1);
  const made = text.length + (parts.length - 1) * (by.length - old.length);
  spend(frame, makeCost(Math.max(0, made)));
  return parts.join(by);
}

/** An empty text is found before each character and at the end. */
function aroundEach(frame: Frame, text: string, limit: number): readonly string[] {
  const parts = ['', ...codePoints(frame, text), ''];
  if (limit < 0 || parts.length <= limit + 1) return parts;
  return [...parts.slice(0, limit), parts.slice(limit).join('')];
}

export function join(frame: Frame, list: readonly unknown[], separator: string): string {
  let length = separator.length * Math.max(0, list.length - 1);
  for (const item of list) {
    if (typeof item !== 'string') {
      return fail(
        'join() needs a list of strings: convert the items first, list.map(x, string(x)).join(",").',
      );
    }
    length += item.length;
  }
  spend(frame, list.length + makeCost(length));
  return list.join(separator);
}

/** Only A to Z and a to z change: `ß` and `İ` must not change the length, or depend on a language. */
export const lowerAscii = (text: string): string => text.replace(/[A-Z]+/g, (part) => part.toLowerCase());
export const upperAscii = (text: string): string => text.replace(/[a-z]+/g, (part) => part.toUpperCase());

const ESCAPES: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** `text` as a CEL string literal. */
export const quote = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- these are the characters that CEL escapes
  `"${text.toWellFormed().replace(/[\x07\b\f\n\r\t\v\\"]/g, (char) => ESCAPES[char] ?? char)}"`;
