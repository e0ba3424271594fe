import { isRecord } from '../json.ts';
import { KNOWN_SCHEMES_NOT_YET, VERIFY_SCHEMES, verifySchema } from '../triggers/verify/schemas.ts';
import { z } from '../zod.ts';
import { MINUTE_MS, SECOND_MS } from './duration.ts';
import {
  anyOf,
  closed,
  durationField,
  enumField,
  expressionField,
  identifierField,
  oneKind,
} from './fields.ts';
import type { Finding } from './findings.ts';
import { HEADER_NAME } from '../http-headers.ts';
import { TRIGGERS_NOT_YET, WEBHOOK_KEYS_NOT_YET } from './not-yet.ts';
import type { CredentialUse, Site } from './steps/kind.ts';
import { listOf, nearest } from './suggest.ts';
import { carry, says } from './zod-findings.ts';

export const DEFAULT_RESULT_WAIT_MS = 10 * SECOND_MS;
const MAX_RESULT_WAIT_MS = MINUTE_MS;

const VERIFY_FIX =
  'write `verify: { scheme: github, credential: <name> }`; `verify: { scheme: none }` takes requests from anyone';

/** The schemas of `verify` are those of core/triggers/verify; here they learn what to say of a missing or foreign scheme. */
const verifyField = verifySchema.clone({ ...verifySchema.def, error: verifyProblem });

function verifyProblem(issue: z.core.$ZodRawIssue): string {
  return issue.code === 'invalid_union' && isRecord(issue.input)
    ? carry([schemeFinding(issue.input.scheme)])
    : says('must say how requests are verified', VERIFY_FIX)();
}

/** Carried at `verify.scheme`, hence the empty path. */
function schemeFinding(scheme: unknown): Finding {
  const at = { path: [] };
  if (scheme === undefined) {
    return {
      ...at,
      code: 'required',
      message: '`scheme` is missing',
      fix: `write one of ${listOf(VERIFY_SCHEMES)}`,
    };
  }
  const later = KNOWN_SCHEMES_NOT_YET.find((known) => known === scheme);
  if (later !== undefined) {
    return {
      ...at,
      code: 'not_supported',
      message: `the scheme \`${later}\` is not supported by this release`,
      fix: 'use `hmac` where the provider signs with an HMAC',
    };
  }
  const near = typeof scheme === 'string' ? nearest(scheme, VERIFY_SCHEMES) : undefined;
  return {
    ...at,
    code: 'invalid_value',
    message: `\`scheme\` must be ${listOf(VERIFY_SCHEMES)}, got ${JSON.stringify(scheme)}`,
    fix: near === undefined ? `write one of ${listOf(VERIFY_SCHEMES)}` : `did you mean \`${near}\`?`,
  };
}

const headerNameHint = { error: says('must be a header name', 'write a name such as `X-Request-Id`') };
const dedupeField = anyOf(
  [
    z.literal(false),
    closed('must be an object', 'write `dedupe: { header: X-Request-Id }`', {
      header: z.string(headerNameHint).regex(HEADER_NAME, headerNameHint),
    }),
    closed('must be an object', 'write `dedupe: { key: body.id }`', { key: expressionField('body.id') }),
  ],
  says(
    'must be `{ header: <name> }`, `{ key: <expression> }` or false',
    'write `dedupe: { header: X-Request-Id }`, or leave it out to use the id that the provider sends',
  ),
);

const webhookField = closed(
  'must be an object with `verify`',
  `write \`webhook: { verify: … }\`: ${VERIFY_FIX}`,
  {
    verify: verifyField,
    filter: expressionField('body.type.startsWith("order.")').optional(),
    respond: enumField(['accepted', 'result']).optional().meta({ default: 'accepted' }),
    wait: durationField(SECOND_MS / 10, MAX_RESULT_WAIT_MS, '10s').optional(),
    dedupe: dedupeField.optional(),
  },
  WEBHOOK_KEYS_NOT_YET,
);

const triggerField = oneKind(
  'trigger',
  {
    webhook: closed('must be an object', 'write `webhook: { verify: … }`', { webhook: webhookField }),
    manual: closed('must be an object', 'write `manual: {}`', {
      manual: closed('must be an empty object', 'write `manual: {}`', {}),
    }),
  },
  TRIGGERS_NOT_YET,
);

const TRIGGERS_FIX = 'write `triggers: { manual: { manual: {} } }`, or a webhook';
export const triggersField = z
  .record(identifierField, triggerField, {
    error: says('must be an object of named triggers', TRIGGERS_FIX),
  })
  .refine((triggers) => Object.keys(triggers).length > 0, {
    error: says('must have at least one trigger', TRIGGERS_FIX),
  });
export type Triggers = z.infer<typeof triggersField>;

const webhookOf = (trigger: unknown): Readonly<Record<string, unknown>> =>
  isRecord(trigger) && isRecord(trigger.webhook) ? trigger.webhook : {};

/** Whether it is a webhook that waits for the execution's result. Also reads triggers that do not match the schema. */
export const answersSender = (trigger: unknown): boolean => webhookOf(trigger).respond === 'result';

/** The expressions of a trigger; paths are below it. */
export function triggerSites(trigger: unknown): readonly Site[] {
  const { filter, dedupe } = webhookOf(trigger);
  return [
    { path: ['webhook', 'filter'], type: 'expression', value: filter },
    {
      path: ['webhook', 'dedupe', 'key'],
      type: 'expression',
      value: isRecord(dedupe) ? dedupe.key : undefined,
    },
  ];
}

export function triggerCredentials(trigger: unknown): readonly CredentialUse[] {
  const { verify } = webhookOf(trigger);
  const name = isRecord(verify) ? verify.credential : undefined;
  return typeof name === 'string'
    ? [{ path: ['webhook', 'verify', 'credential'], name, purpose: 'verify' }]
    : [];
}

export function checkTrigger(trigger: unknown): readonly Finding[] {
  if (!Object.hasOwn(webhookOf(trigger), 'wait') || answersSender(trigger)) return [];
  return [
    {
      path: ['webhook', 'wait'],
      at: 'key',
      code: 'no_effect',
      message: '`wait` has no effect: the sender is answered at once',
      fix: 'add `respond: result`, or remove `wait`',
    },
  ];
}
