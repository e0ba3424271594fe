import type { z } from '../../zod.ts';
import type { Finding, Path } from '../findings.ts';
import type { CompiledBodies, StepKind, Value } from '../types.ts';

/** A place in a step's body that is evaluated at run time. */
export interface Site {
  /** Below the body. */
  readonly path: Path;
  /** A CEL expression (always a string), or JSON whose strings may hold `${{ }}`. */
  readonly type: 'expression' | 'template';
  readonly value: unknown;
}

/** What a kind's own checks may ask about the rest of the workflow. */
export interface CheckContext {
  /** Whether some webhook trigger says `respond: result`. */
  readonly answersSenders: boolean;
}

export interface CredentialUse {
  /** Below the body. */
  readonly path: Path;
  readonly name: string;
}

/** Compiles what a document says into what is run; the names in scope are those of the step. */
export interface ValueCompiler {
  readonly expression: (source: string) => Value;
  readonly template: (json: unknown) => Value;
}

/**
 * All that the definition knows of one step kind. `sites`, `check` and `credentials` also see bodies that do not match
 * the schema, so that every problem of a document is found at once; they pass over what they cannot read.
 */
export interface StepKindSpec<K extends StepKind, S extends z.ZodType> {
  readonly kind: K;
  readonly description: string;
  readonly schema: S;
  readonly sites: (body: unknown) => readonly Site[];
  readonly credentials: (body: unknown) => readonly CredentialUse[];
  /** Findings with paths below the body. */
  readonly check: (body: unknown, context: CheckContext) => readonly Finding[];
  readonly compile: (body: z.output<S>, values: ValueCompiler) => CompiledBodies[K];
}

/** Infers both type parameters. */
export const defineKind = <K extends StepKind, S extends z.ZodType>(
  spec: StepKindSpec<K, S>,
): StepKindSpec<K, S> => spec;
