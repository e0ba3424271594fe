import type { JsonObject } from '../json.ts';
import { z } from '../zod.ts';
import { DAY_MS } from './duration.ts';
import {
  anyOf,
  booleanField,
  closed,
  durationField,
  enumField,
  identifierField,
  integerField,
  oneKind,
  templateField,
  textField,
  unknownKeysOfAny,
  workflowNameField,
  type RefusedKey,
  type RefusedKeys,
} from './fields.ts';
import type { Finding } from './findings.ts';
import { KINDS_NOT_YET, STEP_KEYS_NOT_YET, WORKFLOW_KEYS_NOT_YET } from './not-yet.ts';
import type { StepKindSpec } from './steps/kind.ts';
import { KINDS } from './steps/kinds.ts';
import { valueField } from './steps/transform.ts';
import { triggersField } from './triggers.ts';
import { listOf } from './suggest.ts';
import type { StepKind } from './types.ts';
import { findingsOfIssues, says } from './zod-findings.ts';

/**
 * The workflow document as authors write it (DESIGN section 5), as one schema: it validates, it gives the TypeScript
 * types, and docs/workflow.schema.json is made from it. What one value alone cannot tell is checked in validate.ts.
 */

export const MAX_STEPS = 500;
export const MAX_PARALLELISM = 100;
const MAX_RETRY_DELAY_MS = DAY_MS;

const retryField = closed('must be an object', 'write `retry: { attempts: 5, initial: 1s, max: 1m }`', {
  attempts: integerField(1, 100).optional(),
  backoff: z
    .union(
      [
        enumField(['fixed', 'exponential']),
        z
          .array(durationField(0, MAX_RETRY_DELAY_MS, '10s'))
          .min(1)
          .max(100),
      ],
      {
        error: says(
          'must be `fixed`, `exponential` or a list of at most 100 durations up to 1d',
          'write `backoff: exponential`, or delays such as `backoff: [1s, 10s, 1m]`',
        ),
      },
    )
    .optional(),
  initial: durationField(0, MAX_RETRY_DELAY_MS, '1s').optional(),
  max: durationField(0, MAX_RETRY_DELAY_MS, '1m').optional(),
});

const needField = anyOf(
  [
    identifierField,
    closed('must be an object', 'write `{ step: <id>, when: always }`', {
      step: identifierField,
      when: enumField(['success', 'always']).optional(),
    }),
  ],
  says('must be the id of a step, or `{ step: <id>, when: always }`', 'write the id of an earlier step'),
);

const conditionHint = {
  error: says('must be a CEL expression, true or false', 'write `if: trigger.body.total > 100`'),
};
const listHint = {
  error: says('must be a CEL expression that gives a list, or a list', 'write `forEach: trigger.body.items`'),
};

/** Keys that every kind of step takes. */
const COMMON = {
  id: identifierField.describe('Unique in the workflow; expressions read `steps.<id>`'),
  name: textField(200).optional().describe('For people'),
  description: textField(2000).optional(),
  needs: z
    .array(needField, { error: says('must be a list of step ids', 'write `needs: [<id>]`') })
    .max(MAX_STEPS, {
      error: says(`must have at most ${MAX_STEPS} entries`, 'remove those that are there twice'),
    })
    .optional()
    .describe('Steps that have to end before this one starts; steps without needs start at once'),
  if: z.union([z.string(conditionHint).min(1, conditionHint), z.boolean()], conditionHint).optional(),
  forEach: z.union([z.string(listHint).min(1, listHint), z.array(templateField)], listHint).optional(),
  parallelism: integerField(1, MAX_PARALLELISM)
    .optional()
    .describe('Elements of `forEach` worked on at once'),
  retry: retryField.optional(),
  timeout: durationField(1, DAY_MS, '30s').optional().describe('Of one attempt'),
  continueOnError: booleanField().optional(),
  input: templateField.optional().describe('Recorded as the input of the step; what its code is called with'),
  atMostOnce: booleanField().optional().describe('Never started a second time, not even after a crash'),
} as const;

type StepField<K extends StepKind> = z.ZodObject<
  typeof COMMON & (typeof KINDS)[K]['keys'] & { readonly [P in K]: (typeof KINDS)[P]['schema'] },
  z.core.$strict
>;
/** Keys that this kind does not take and others do. */
function keysOfOtherKinds(kind: StepKind): RefusedKeys {
  const specs: readonly Pick<
    StepKindSpec<StepKind, z.ZodType, z.ZodRawShape>,
    'kind' | 'keys' | 'refusedKeys'
  >[] = Object.values(KINDS);
  const kindsByKey = Map.groupBy(
    specs.flatMap((spec) => Object.keys(spec.keys).map((key) => ({ key, kind: spec.kind }))),
    ({ key }) => key,
  );
  const refused = [...kindsByKey]
    .filter(([, takers]) => takers.every((taker) => taker.kind !== kind))
    .map(([key, takers]): readonly [string, RefusedKey] => [
      key,
      {
        code: 'no_effect',
        message: `\`${key}\` has no effect on a step of kind \`${kind}\``,
        fix: `remove it; it is for steps of kind ${listOf(
          takers.map((taker) => taker.kind),
          'and',
        )}`,
      },
    ]);
  return { ...Object.fromEntries(refused), ...specs.find((spec) => spec.kind === kind)?.refusedKeys };
}

const stepOf = <K extends StepKind>(kind: K): StepField<K> =>
  closed(
    'must be an object with an `id` and a kind',
    'write `- id: fetch` and below it `http: { url: … }`',
    { ...COMMON, [kind]: KINDS[kind].schema.describe(KINDS[kind].description), ...KINDS[kind].keys },
    { ...STEP_KEYS_NOT_YET, ...keysOfOtherKinds(kind) },
    // The computed key makes TypeScript forget which key it is.
  ) as unknown as StepField<K>;

const stepField = oneKind(
  'step',
  {
    http: stepOf('http'),
    code: stepOf('code'),
    transform: stepOf('transform'),
    wait: stepOf('wait'),
    respond: stepOf('respond'),
    container: stepOf('container'),
    notebook: stepOf('notebook'),
  },
  KINDS_NOT_YET,
);

const plainObject = (what: string, fix: string) =>
  z.record(z.string(), z.unknown(), { error: says(what, fix) }) as unknown as z.ZodType<
    JsonObject,
    JsonObject
  >;

const STEPS_FIX = 'write `steps:` and below it `- id: fetch` with `http: { url: … }`';

export const workflowSchema = closed(
  'must be a mapping with `name`, `triggers` and `steps`',
  'begin with `name: my-workflow`',
  {
    name: workflowNameField.describe('Unique in the tenant'),
    description: textField(2000).optional(),
    triggers: triggersField,
    steps: z
      .array(stepField, { error: says('must be a list of steps', STEPS_FIX) })
      .min(1, { error: says('must have at least one step', STEPS_FIX) })
      .max(MAX_STEPS, {
        error: says(`must have at most ${MAX_STEPS} steps`, 'use `forEach`, or split the workflow'),
      }),
    output: valueField.optional().describe('What the execution results in; null without it'),
    timeout: durationField(1, 30 * DAY_MS, '1h')
      .optional()
      .describe('Of the execution, without the time it waits'),
    config: plainObject('must be an object', 'write `config: { region: eu }`')
      .optional()
      .describe('Read as `config`'),
    inputSchema: z
      .union([z.boolean(), plainObject('must be an object', 'write `inputSchema: { type: object }`')], {
        error: says('must be a JSON Schema', 'write `inputSchema: { type: object }`'),
      })
      .optional()
      .describe('JSON Schema (2020-12) that the input of a manual start must match'),
  },
  WORKFLOW_KEYS_NOT_YET,
);

/** A document that was found valid, as its author wrote it: no defaults filled in. This is what is stored and hashed. */
export type WorkflowDocument = z.input<typeof workflowSchema>;
export type Step = WorkflowDocument['steps'][number];
export type StepOf<K extends StepKind> = z.input<StepField<K>>;
export type Trigger = WorkflowDocument['triggers'][string];

/** What the schema alone has to say about a document. */
export function schemaFindings(root: unknown): readonly Finding[] {
  const result = workflowSchema.safeParse(root, { error: unknownKeysOfAny });
  return result.success ? [] : findingsOfIssues(result.error.issues, root);
}
