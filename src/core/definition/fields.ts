import { credentialNameSchema } from '../credentials/types.ts';
import { isRecord, type JsonValue } from '../json.ts';
import { z } from '../zod.ts';
import { DURATION_PATTERN, formatDuration, parseDuration } from './duration.ts';
import type { Finding } from './findings.ts';
import { IDENTIFIER_PATTERN, KEBAB_NAME_PATTERN, MAX_NAME_LENGTH } from './names.ts';
import { listOf, nearest } from './suggest.ts';
import { carry, findingsOfIssues, says } from './zod-findings.ts';

/** The building blocks of the document's schema: each knows what to say when it is not met. */

/** Any JSON; its strings may hold `${{ }}`. */
export const templateField = z.unknown() as unknown as z.ZodType<JsonValue, JsonValue>;

export function expressionField(example: string): z.ZodString {
  const hint = says('must be a CEL expression', `write an expression such as \`${example}\``);
  return z
    .string({ error: hint })
    .min(1, { error: hint })
    .meta({ examples: [example] });
}

/** Text for people: names and descriptions. */
export function textField(maxLength: number): z.ZodString {
  const hint = says(
    `must be text of at most ${maxLength} characters`,
    'shorten it, and quote it if it is no text',
  );
  return z.string({ error: hint }).max(maxLength, { error: hint });
}

export function durationField(minMs: number, maxMs: number, example: string): z.ZodString {
  const hint = says(
    `must be a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
    `write a whole number and a unit (ms, s, m, h, d), such as \`${example}\``,
  );
  const inRange = (text: string): boolean => {
    const ms = parseDuration(text);
    return ms !== undefined && ms >= minMs && ms <= maxMs;
  };
  return z
    .string({ error: hint })
    .regex(DURATION_PATTERN, { error: hint, abort: true })
    .refine(inRange, { error: hint })
    .meta({ examples: [example] });
}

export function integerField(min: number, max: number): z.ZodNumber {
  const hint = says(`must be a whole number from ${min} to ${max}`, `write a number such as ${min}`);
  return z.int({ error: hint }).min(min, { error: hint }).max(max, { error: hint });
}

export function booleanField(): z.ZodBoolean {
  return z.boolean({ error: says('must be true or false', 'write `true` or `false`, without quotes') });
}

export function enumField<const T extends readonly [string, ...string[]]>(
  values: T,
): z.ZodEnum<z.core.util.ToEnum<T[number]>> {
  return z.enum(values, {
    error: (issue) => {
      const near = typeof issue.input === 'string' ? nearest(issue.input, values) : undefined;
      const fix = near === undefined ? `write one of ${listOf(values)}` : `did you mean \`${near}\`?`;
      return says(`must be ${listOf(values)}`, fix)();
    },
  });
}

const nameField = (pattern: RegExp, what: string, example: string): z.ZodString => {
  const hint = says(`${what}, at most ${MAX_NAME_LENGTH} characters`, `write a name such as \`${example}\``);
  return z
    .string({ error: hint })
    .regex(pattern, { error: hint, abort: true })
    .max(MAX_NAME_LENGTH, { error: hint });
};
export const workflowNameField = nameField(
  KEBAB_NAME_PATTERN,
  'must be lower-case letters, digits and single dashes, beginning with a letter',
  'order-intake',
);
export const credentialField = credentialNameSchema;
export const identifierField = nameField(
  IDENTIFIER_PATTERN,
  'must be letters, digits and single dashes or underscores, beginning with a letter',
  'fetch-order',
);

/** A union of which an object is judged as the member that has one of its keys, so that it hears what is wrong inside. */
export function anyOf<const O extends readonly [z.ZodType, z.ZodType, ...z.ZodType[]]>(
  options: O,
  hint: () => string,
): z.ZodUnion<O> {
  return z.union(options, {
    error: (issue) => {
      const { input } = issue;
      if (issue.code !== 'invalid_union' || !isRecord(input)) return hint();
      const index = options.findIndex(
        (option) =>
          option instanceof z.ZodObject && Object.keys(option.shape).some((key) => Object.hasOwn(input, key)),
      );
      const issues = issue.errors[index];
      return issues === undefined ? hint() : carry(findingsOfIssues(issues, input));
    },
  });
}

/** What to say of a key that has a meaning, but not here. */
export type RefusedKey = Pick<Finding, 'code' | 'message' | 'fix'>;
export type RefusedKeys = Readonly<Record<string, RefusedKey>>;

/** An object that takes no other keys than those of `shape`. */
export function closed<S extends z.ZodRawShape>(
  what: string,
  fix: string,
  shape: S,
  refused: RefusedKeys = {},
): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? carry(issue.keys.map((key) => unknownKey(key, Object.keys(shape), refused)))
        : says(what, fix)(),
  });
}

/** What to say about unknown keys of schemas that were not made by `closed`; for `safeParse(…, { error })`. */
export function unknownKeysOfAny(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code !== 'unrecognized_keys' || !(issue.inst instanceof z.ZodObject)) return undefined;
  const known = Object.keys(issue.inst.shape);
  return carry(issue.keys.map((key) => unknownKey(key, known, {})));
}

function unknownKey(key: string, known: readonly string[], refused: RefusedKeys): Finding {
  const common = { path: [key], at: 'key' } as const;
  const refusal = Object.hasOwn(refused, key) ? refused[key] : undefined;
  if (refusal !== undefined) return { ...common, ...refusal };
  const near = nearest(key, known);
  return {
    ...common,
    code: 'unknown_key',
    message: `\`${key}\` is not a known key here`,
    fix:
      near === undefined ? `remove it; known here are ${listOf(known, 'and')}` : `did you mean \`${near}\`?`,
  };
}

/**
 * A union told apart by which one of its kinds' keys is there, such as `http:` in a step. Zero kinds, two, and kinds of
 * later releases get a message of their own; the problems of the other keys are reported all the same.
 */
export function oneKind<const O extends Readonly<Record<string, z.ZodObject>>>(
  noun: string,
  options: O,
  refused: RefusedKeys,
): z.ZodUnion<readonly O[keyof O][]> {
  const kinds = Object.keys(options);
  const known = new Set([...kinds, ...Object.values(options).flatMap((option) => Object.keys(option.shape))]);
  return z.union(Object.values(options) as O[keyof O][], {
    error: (issue) => {
      if (issue.code !== 'invalid_union' || !isRecord(issue.input)) {
        return says(
          `must be an object with one of ${listOf(kinds)}`,
          `write \`${kinds[0]}:\` and its settings`,
        )();
      }
      const { input } = issue;
      const written = Object.keys(input).filter((key) => kinds.includes(key));
      const branch = Math.max(0, kinds.indexOf(written[0] ?? ''));
      const branchFindings = findingsOfIssues(issue.errors[branch] ?? [], input);
      if (written.length === 1) return carry(branchFindings);
      const about = kindFinding(noun, input, written, { kinds, known, refused });
      // Of the branch taken for want of a better one, only what does not hang on the kind is kept.
      const others = branchFindings.filter(
        ({ path: [key], at }) =>
          typeof key === 'string' &&
          !kinds.includes(key) &&
          !about.path.includes(key) &&
          !(at === 'key' && known.has(key)),
      );
      return carry([about, ...others]);
    },
  });
}

interface KindTable {
  readonly kinds: readonly string[];
  readonly known: ReadonlySet<string>;
  readonly refused: RefusedKeys;
}

function kindFinding(
  noun: string,
  input: Readonly<Record<string, unknown>>,
  written: readonly string[],
  { kinds, known, refused }: KindTable,
): Finding {
  const second = written[1];
  if (second !== undefined) {
    return {
      path: [second],
      at: 'key',
      code: 'conflict',
      message: `a ${noun} has one kind, this one has ${listOf(written, 'and')}`,
      fix: `keep one of them, or make each a ${noun} of its own`,
    };
  }
  const later = Object.keys(input).find((key) => Object.hasOwn(refused, key));
  if (later !== undefined) return unknownKey(later, kinds, refused);
  for (const key of Object.keys(input)) {
    const near = known.has(key) ? undefined : nearest(key, kinds);
    if (near !== undefined) return unknownKey(key, kinds, refused);
  }
  return {
    path: [],
    code: 'required',
    message: `this ${noun} has no kind`,
    fix: `add one of ${listOf(kinds)}`,
  };
}
