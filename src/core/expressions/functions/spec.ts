import { fail } from '../failure.ts';
import type { Frame } from '../frame.ts';
import type { KindSet } from '../kinds.ts';
import { listIndex } from '../values.ts';

/** Gets the receiver first, when there is one. Kinds were checked; prices are still to be paid. */
export type Run = (frame: Frame, a: unknown, b: unknown, c: unknown, d: unknown) => unknown;

/** One function for one number of arguments. */
export interface FunctionSpec {
  /** As written: `size`, `strings.quote`. */
  readonly name: string;
  /** What it may be called on, `value.name(...)`; absent for `name(...)`. */
  readonly on?: KindSet;
  /** The arguments, at most three after a receiver. */
  readonly args: readonly KindSet[];
  readonly returns: KindSet;
  readonly run: Run;
  /** For the last argument written as a literal: prepares it when the workflow is saved, or says what is wrong. */
  bind?(literal: unknown): Run;
}

/** The whole number in an argument of kind `NUMBER`: authors pass JSON's numbers, which are doubles. */
export const wholeNumber = (value: unknown, name: string): number =>
  listIndex(value) ?? fail(`${name} needs a whole number.`);
