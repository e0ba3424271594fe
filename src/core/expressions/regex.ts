import { RE2JSException, RE2Set } from 're2js';
import { fail, shorten } from './failure.ts';
import { type Frame, spend } from './frame.ts';

/*
 * CEL's `matches` is RE2's search. It runs on a port of RE2, whose time is linear in the text, unlike RegExp's.
 * RE2Set rather than RE2JS: its automaton can be given a bound on memory (RE2JS takes up to 8 MB a pattern, and up to
 * 10 µs a character while it fills them), and it answers short texts in a third of the time (190 against 550 ns).
 */

export const MAX_PATTERN_LENGTH = 1000;

/** `[a-z]{1000}` is short to write, but compiles to a thousand instructions, each a cost for every character. */
const MAX_INSTRUCTIONS = 2000;

const DFA_BYTES = 131_072;

/** Measured at worst: 10 to 20 ns for a character and instruction; so 64 of them are a microsecond, a step. */
const COST_SHIFT = 6;

/** Measured at worst (`(?:(?:a?){30}){33}` and the like): 150 µs for a character of a pattern while it compiles. */
const COMPILE_COST = 150;

/** Only patterns from data are kept here: literal ones belong to their expression. */
const MAX_CACHED = 100;
const cache = new Map<string, Pattern>();

/** A compiled regular expression. */
export interface Pattern {
  readonly instructions: number;
  readonly set: RE2Set;
}

/** @throws ExpressionError `expression_error` when `source` is no RE2 pattern or too large. */
export function compilePattern(source: string): Pattern {
  if (source.length > MAX_PATTERN_LENGTH) {
    fail(`matches() takes patterns of up to ${MAX_PATTERN_LENGTH} characters, got ${source.length}.`);
  }
  const set = new RE2Set(RE2Set.UNANCHORED, 0, DFA_BYTES);
  try {
    set.add(source);
    set.compile();
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    fail(
      `\`${shorten(source)}\` is no RE2 pattern: ${shorten(error.message.replace(/^error parsing regexp: /, ''))}. Look-around and back-references are not in RE2 (https://github.com/google/re2/wiki/Syntax).`,
    );
  }
  const instructions = set.prog.numInst();
  if (instructions > MAX_INSTRUCTIONS) {
    fail(`The pattern \`${shorten(source)}\` is too large: lower its repetition counts.`);
  }
  return { instructions, set };
}

/** True when `pattern` matches somewhere in `text`. */
export function search(frame: Frame, pattern: Pattern, text: string): boolean {
  spend(frame, 1 + Math.ceil((text.length * pattern.instructions) / 2 ** COST_SHIFT));
  return pattern.set.match(text).length > 0;
}

/**
 * The pattern for a text that came from data. Its compilation is paid for once an evaluation, also when it is cached:
 * whether an expression meets its limits must not depend on what ran before.
 */
export function patternFor(frame: Frame, source: string): Pattern {
  frame.patterns ??= new Set();
  if (!frame.patterns.has(source)) {
    spend(frame, 1 + Math.min(source.length, MAX_PATTERN_LENGTH) * COMPILE_COST);
    frame.patterns.add(source);
  }
  const known = cache.get(source);
  if (known !== undefined) return known;
  const pattern = compilePattern(source);
  if (cache.size >= MAX_CACHED) {
    // The oldest: a map keeps the order of insertion.
    const [oldest] = cache.keys();
    if (oldest !== undefined) cache.delete(oldest);
  }
  cache.set(source, pattern);
  return pattern;
}
