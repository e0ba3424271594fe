import type { z } from '../../zod.ts';
import type { RefusedKeys } from '../fields.ts';
import type { Finding, Path } from '../findings.ts';
import type { CompiledBodies, StepKind, Value } from '../types.ts';

/** A step as it was written, which may be wrong in places. */
export type RawStep = Readonly<Record<string, unknown>>;

/** A place in a step that is evaluated at run time. */
export interface Site {
  /** Below the step. */
  readonly path: Path;
  /** A CEL expression (always a string), or JSON whose strings may hold `${{ }}`. */
  readonly type: 'expression' | 'template';
  readonly value: unknown;
}

/** What sandboxes of a tenant may have at most. */
export interface MaxResources {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** What a kind's own checks may ask about the rest of the workflow, and about where it is saved. */
export interface CheckContext {
  /** Whether some webhook trigger says `respond: result`. */
  readonly answersSenders: boolean;
  /** Undefined: not checked. */
  readonly maxResources: MaxResources | undefined;
}

/**
 * What a credential is used for: `send` adds it to requests without showing it, `read` hands its value to code,
 * `verify` checks requests that come in.
 */
export type CredentialPurpose = 'send' | 'read' | 'verify';

export interface CredentialUse {
  /** Below the step or trigger. */
  readonly path: Path;
  readonly name: string;
  readonly purpose: CredentialPurpose;
}

/** Compiles what a document says into what is run; the names in scope are those of the step. */
export interface ValueCompiler {
  readonly expression: (source: string) => Value;
  readonly template: (json: unknown) => Value;
}

/** What a kind reads of a valid step: what stands under its own key, and the keys beside it that it takes. */
export type KindFields<K extends StepKind, S extends z.ZodType, X extends z.ZodRawShape> = {
  readonly [P in K]: z.output<S>;
} & { readonly [P in keyof X]?: z.output<X[P]> };

/**
 * All that the definition knows of one step kind. `sites`, `check` and `credentials` also see steps that do not match
 * the schema, so that every problem of a document is found at once; they pass over what they cannot read.
 */
export interface StepKindSpec<K extends StepKind, S extends z.ZodType, X extends z.ZodRawShape> {
  readonly kind: K;
  readonly description: string;
  /** Of what stands under the kind's own key. */
  readonly schema: S;
  /** Keys of the step, beside those that every kind takes; none is required. */
  readonly keys: X;
  /** Keys that other kinds take, where there is more to say than which kinds these are. */
  readonly refusedKeys?: RefusedKeys;
  readonly sites: (step: RawStep) => readonly Site[];
  readonly credentials: (step: RawStep) => readonly CredentialUse[];
  /** Findings with paths below the step. */
  readonly check: (step: RawStep, context: CheckContext) => readonly Finding[];
  readonly compile: (step: KindFields<K, S, X>, values: ValueCompiler) => CompiledBodies[K];
}

/** Infers the type parameters. */
export const defineKind = <K extends StepKind, S extends z.ZodType, X extends z.ZodRawShape>(
  spec: StepKindSpec<K, S, X>,
): StepKindSpec<K, S, X> => spec;

/** The templates under `keys` of an object, as far as they are there. */
export const templateSites = (path: Path, body: unknown, keys: readonly string[]): readonly Site[] =>
  typeof body === 'object' && body !== null
    ? keys
        .filter((key) => Object.hasOwn(body, key))
        .map((key) => ({
          path: [...path, key],
          type: 'template',
          value: (body as Readonly<Record<string, unknown>>)[key],
        }))
    : [];

/** Findings of a part, as findings of the whole. */
export const below = (base: Path, findings: readonly Finding[]): readonly Finding[] =>
  findings.map((finding) => ({ ...finding, path: [...base, ...finding.path] }));
