import { failLimit } from './failure.ts';
import type { ExpressionLimits, Scope } from './types.ts';

/**
 * How many steps pass between two looks at the clock. A step is priced at about a microsecond or less, so the
 * time limit is met within some milliseconds, and expressions without loops never ask for the time again.
 */
const STEPS_PER_CLOCK_CHECK = 1024;

/**
 * The state of one evaluation. A template shares one frame among all its expressions, so that the limits hold for
 * the template. Compiled expressions keep no state of their own: they neither pin the last payload in memory nor
 * disturb each other.
 */
export interface Frame {
  readonly scope: Scope;
  readonly limits: ExpressionLimits;
  /** Variables of macros, by the place given when the expression was compiled. */
  readonly locals: unknown[];
  /** Steps that are left. */
  steps: number;
  /** The number of steps left below which the clock is looked at. */
  checkAt: number;
  readonly deadline: number;
  /** Patterns that came from data and were paid for in this evaluation. */
  patterns: Set<string> | undefined;
}

/**
 * The clock decides nothing but whether to stop: a value never depends on it, so expressions stay pure. It has to
 * be read here because only the loop itself can stop the loop.
 */
const clock = (): number => performance.now();

export function createFrame(scope: Scope, limits: ExpressionLimits): Frame {
  return {
    scope,
    limits,
    locals: [],
    steps: limits.maxSteps,
    checkAt: Math.max(0, limits.maxSteps - STEPS_PER_CLOCK_CHECK),
    deadline: clock() + limits.timeMs,
    patterns: undefined,
  };
}

/**
 * Pays for work. Prices are what the work costs at worst in microseconds, rounded up: 1 for a turn of a loop, and a
 * part of the length for what reads, copies or compares.
 *
 * @throws ExpressionError `expression_limit` when the steps or the time are used up.
 */
export function spend(frame: Frame, steps: number): void {
  frame.steps -= steps;
  if (frame.steps < frame.checkAt) check(frame);
}

function check(frame: Frame): void {
  const { maxSteps, timeMs } = frame.limits;
  if (frame.steps < 0) {
    failLimit(
      `The expression takes more than ${maxSteps} steps: loop over fewer items, or shorten what it reads.`,
    );
  }
  if (clock() > frame.deadline) {
    failLimit(
      `The expression takes more than ${timeMs} ms: loop over fewer items, or shorten what it reads.`,
    );
  }
  frame.checkAt = Math.max(0, frame.steps - STEPS_PER_CLOCK_CHECK);
}

/** Price of reading `length` characters or bytes once. */
export const readCost = (length: number): number => 1 + (length >> 6);

/** Price of making something of `length` characters or bytes: it also takes memory. */
export const makeCost = (length: number): number => 1 + (length >> 5);

/** Price of making a list or object of `length` members, each a word of memory at least. */
export const listCost = (length: number): number => 1 + (length >> 1);
