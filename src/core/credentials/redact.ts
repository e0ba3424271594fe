import type { JsonValue } from '../json.ts';

export const REDACTED = '[redacted]';

/** Replaces secrets in what is stored, logged or shown. */
export interface Redactor {
  readonly text: (text: string) => string;
  /** Strings and keys at any depth, and numbers that are a secret. The value itself is left as it is. */
  readonly json: (value: JsonValue) => JsonValue;
  /** For one body that comes in pieces, in any charset that spells ASCII as ASCII does. */
  readonly bytes: () => ByteMask;
}

/**
 * Masks bytes as they come by. A piece that could be the beginning of a secret is held back until the next one tells;
 * everything else goes through at once. Secrets of one to three characters are not masked here: whether they are words
 * of their own shows only in the whole text.
 */
export interface ByteMask {
  readonly push: (piece: Buffer) => Buffer;
  /** What was held back. */
  readonly end: () => Buffer;
}

/** Below this a secret is masked only as a whole word, and only in its own spelling. */
const MIN_LENGTH = 4;
/** Below this the base64 of a secret inside something longer would match by chance. */
const MIN_EMBEDDED_LENGTH = 8;
/** Searched for at once; what follows it is compared afterwards, so that time stays linear in the text. */
const PROBE_LENGTH = 32;
/** Bounds the comparing of long secrets, which only repetitive secrets in repetitive text ever reach. */
const COMPARISONS_PER_CHARACTER = 8;
/** A text in which secrets stand closer than this is masked whole from there on: 1 MiB of them would take 0.5 s. */
const CHARACTERS_PER_HIT = 16;
const FREE_HITS = 64;

/**
 * Makes a redactor for the exact values given, in their own spelling and as base64 (alone or inside a longer text,
 * whatever the alignment), base64url, URL-encoded and JSON-escaped (twice, too). A secret longer than 32
 * characters is masked from its first 32 on, as far as the text agrees, so that a truncated message does not show a
 * part of it.
 *
 * A secret of one to three characters cannot be told from ordinary text; it is masked where it stands as a word of
 * its own (`pin=123`, `"123"`), not inside other words or numbers. Empty ones are ignored.
 *
 * It sees one text at a time: a secret that is split over two log entries, or two strings of a value, is not found. It
 * can be used again and again. Measured with 10 secrets and 1 MiB: 2 ms, at most 30 ms where the text is nothing but
 * secrets; making it takes 0.3 ms.
 */
export function createRedactor(secrets: readonly string[]): Redactor {
  const words = secrets.filter((secret) => secret !== '' && secret.length < MIN_LENGTH);
  const needles = new Set(secrets.filter((secret) => secret.length >= MIN_LENGTH).flatMap(spellingsOf));
  if (words.length === 0 && needles.size === 0) return NO_REDACTION;

  const search = needles.size === 0 ? undefined : createSearch([...needles]);
  const wordPattern =
    words.length === 0
      ? undefined
      : new RegExp(`(?<![\\p{L}\\p{N}])(?:${alternatives(words)})(?![\\p{L}\\p{N}])`, 'gu');
  const text = (input: string): string => {
    const masked = search === undefined ? input : mask(input, search(input));
    return wordPattern === undefined ? masked : masked.replaceAll(wordPattern, REDACTED);
  };
  const isSecretNumber = (value: number): boolean => secrets.includes(String(value));
  let byteSearch: ByteSearch | undefined;
  return {
    text,
    json: (value) => redactJson(value, text, isSecretNumber),
    bytes: () => createByteMask((byteSearch ??= createByteSearch([...needles]))),
  };
}

/** What redacts nothing. */
export const NO_REDACTION: Redactor = {
  text: (text) => text,
  json: (value) => value,
  bytes: () => ({ push: (piece) => piece, end: () => Buffer.alloc(0) }),
};

/** Every way in which a secret is likely to be written. */
function spellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const escaped = JSON.stringify(secret).slice(1, -1);
  const asciiEscaped = escaped.replaceAll(/[^\x20-\x7e]/g, unicodeEscape);
  const percent = [...bytes].map(percentEncode).join('');
  const spellings = [
    secret,
    escaped,
    escaped.replaceAll('/', '\\/'),
    asciiEscaped,
    lowerUnicodeEscapes(asciiEscaped),
    JSON.stringify(escaped).slice(1, -1),
    percent,
    lowerHex(percent),
    percent.replaceAll('%20', '+'),
    new URLSearchParams({ s: secret }).toString().slice('s='.length),
    encodeLeniently(secret),
    ...base64SpellingsOf(bytes),
  ];
  return spellings.filter((spelling) => spelling.length >= MIN_LENGTH);
}

const unicodeEscape = (character: string): string =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, '0').toUpperCase()}`;
const lowerUnicodeEscapes = (text: string): string =>
  text.replaceAll(/\\u[0-9A-F]{4}/g, (escape) => escape.toLowerCase());

/** RFC 3986: everything but unreserved characters. */
const percentEncode = (byte: number): string =>
  /[A-Za-z0-9._~-]/.test(String.fromCharCode(byte))
    ? String.fromCharCode(byte)
    : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
const lowerHex = (text: string): string => text.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());

/** As `encodeURIComponent`, which leaves `!'()*` alone and throws for lone surrogates. */
const encodeLeniently = (text: string): string => encodeURIComponent(text.toWellFormed());

/**
 * The base64 of the bytes alone, and the part of it that stays the same when other bytes stand before and after:
 * which depends on how many stand before, modulo 3. Both alphabets, and `+/` percent-encoded.
 */
function base64SpellingsOf(bytes: Buffer): readonly string[] {
  const spellings: string[] = [];
  for (let before = 0; before < 3; before++) {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // Each character carries 6 bits: leave out those that hold bits of the neighbours.
    const start = Math.ceil((before * 8) / 6);
    const end = Math.floor(((before + bytes.length) * 8) / 6);
    const inner = encoded.slice(start, end);
    if (before === 0) spellings.push(encoded);
    if (inner.length >= MIN_EMBEDDED_LENGTH) spellings.push(inner);
  }
  return spellings.flatMap((standard) => [
    standard,
    standard.replaceAll('+', '-').replaceAll('/', '_'),
    encodeURIComponent(standard),
    lowerHex(encodeURIComponent(standard)),
  ]);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Finds the spans of a text that a needle covers, merged and in order. */
function createSearch(needles: readonly string[]): (text: string) => readonly Span[] {
  const byProbe = Map.groupBy(needles, (needle) => needle.slice(0, PROBE_LENGTH));
  const pattern = new RegExp(alternatives([...byProbe.keys()]), 'g');
  return (text) => {
    const spans: { start: number; end: number }[] = [];
    let budget = text.length * COMPARISONS_PER_CHARACTER;
    let hitsLeft = text.length / CHARACTERS_PER_HIT + FREE_HITS;
    pattern.lastIndex = 0;
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const start = match.index;
      let end = hitsLeft-- > 0 ? start + match[0].length : text.length;
      for (const needle of byProbe.get(match[0]) ?? []) {
        // Text that repeats a repetitive secret's beginning again and again: rather mask too much.
        const agreed = budget > 0 ? agreeUntil(text, start, needle) : start + needle.length;
        budget -= agreed - start;
        end = Math.max(end, Math.min(agreed, text.length));
      }
      const last = spans.at(-1);
      if (last !== undefined && start < last.end) last.end = Math.max(last.end, end);
      else spans.push({ start, end });
      if (end === text.length) break;
      // Not from the end: another secret may begin inside this one and reach beyond it.
      pattern.lastIndex = start + 1;
    }
    return spans;
  };
}

/** How far the text goes on like the needle, whose probe is known to match. */
function agreeUntil(text: string, start: number, needle: string): number {
  let length = Math.min(PROBE_LENGTH, needle.length);
  while (length < needle.length && text.charCodeAt(start + length) === needle.charCodeAt(length)) length++;
  return start + length;
}

/** Longest first: the first alternative that fits is taken. */
const alternatives = (texts: readonly string[]): string =>
  texts
    .toSorted((a, b) => b.length - a.length)
    .map((text) => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
    .join('|');

/** Bytes are searched as Latin-1, one character each, so that no charset and no cut through a character matters. */
interface ByteSearch {
  readonly spansOf: (text: string) => readonly Span[];
  /** From where on the text could be the beginning of a needle; its length when nowhere. */
  readonly undecidedFrom: (text: string) => number;
  readonly longest: number;
}

function createByteSearch(needles: readonly string[]): ByteSearch {
  if (needles.length === 0) return { spansOf: () => [], undecidedFrom: (text) => text.length, longest: 0 };
  const spelled = [...new Set(needles.map((needle) => Buffer.from(needle).toString('latin1')))];
  const longest = spelled.reduce((length, needle) => Math.max(length, needle.length), 0);
  const byFirst = Map.groupBy(spelled, (needle) => needle.charCodeAt(0));
  const undecidedFrom = (text: string): number => {
    for (let at = Math.max(0, text.length - longest + 1); at < text.length; at++) {
      const length = text.length - at;
      for (const needle of byFirst.get(text.charCodeAt(at)) ?? []) {
        if (needle.length > length && text.endsWith(needle.slice(0, length))) return at;
      }
    }
    return text.length;
  };
  return { spansOf: createSearch(spelled), undecidedFrom, longest };
}

function createByteMask({ spansOf, undecidedFrom, longest }: ByteSearch): ByteMask {
  let held = '';
  const flush = (text: string, spans: readonly Span[]): Buffer => Buffer.from(mask(text, spans), 'latin1');
  return {
    push: (piece) => {
      const text = held + piece.toString('latin1');
      const spans = spansOf(text);
      let cut = undecidedFrom(text);
      // What begins before the cut and reaches beyond it stays whole.
      cut = spans.find(({ start, end }) => start < cut && cut < end)?.start ?? cut;
      // Only a repetitive secret in repetitive text overlaps itself for so long.
      if (text.length - cut > 2 * longest) cut = text.length;
      held = text.slice(cut);
      return flush(
        text.slice(0, cut),
        spans.filter(({ end }) => end <= cut),
      );
    },
    end: () => {
      const text = held;
      held = '';
      return flush(text, spansOf(text));
    },
  };
}

function mask(text: string, spans: readonly Span[]): string {
  if (spans.length === 0) return text;
  const pieces: string[] = [];
  let at = 0;
  for (const { start, end } of spans) {
    pieces.push(text.slice(at, start), REDACTED);
    at = end;
  }
  pieces.push(text.slice(at));
  return pieces.join('');
}

type Container = JsonValue[] | Record<string, JsonValue>;

/** Copies a JSON value with its strings masked; without recursion, since nothing bounds the depth of a response. */
function redactJson(
  root: JsonValue,
  text: (text: string) => string,
  isSecretNumber: (value: number) => boolean,
): JsonValue {
  const pending: { readonly from: JsonValue; readonly to: Container }[] = [];
  const copy = (value: JsonValue): JsonValue => {
    if (typeof value === 'string') return text(value);
    if (typeof value === 'number') return isSecretNumber(value) ? REDACTED : value;
    if (typeof value !== 'object' || value === null) return value;
    const to: Container = Array.isArray(value) ? [] : {};
    pending.push({ from: value, to });
    return to;
  };
  const result = copy(root);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { from, to } = next;
    if (Array.isArray(to)) for (const item of from as readonly JsonValue[]) to.push(copy(item));
    else
      for (const [key, item] of Object.entries(from as Readonly<Record<string, JsonValue>>))
        setOwn(to, text(key), copy(item));
  }
  return result;
}

/** As an assignment, but `__proto__` becomes an ordinary key. */
function setOwn(target: Record<string, JsonValue>, key: string, value: JsonValue): void {
  if (key === '__proto__')
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
}
