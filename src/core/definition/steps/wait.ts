import { isRecord, type JsonValue } from '../../json.ts';
import { terminalError } from '../../step-error.ts';
import type { Scope } from '../../expressions/types.ts';
import { z } from '../../zod.ts';
import { DAY_MS, formatDuration, parseDuration } from '../duration.ts';
import { closed, durationField } from '../fields.ts';
import { preview, type Finding } from '../findings.ts';
import type { CompiledWait } from '../types.ts';
import { says } from '../zod-findings.ts';
import { below, defineKind, templateSites } from './kind.ts';

export const MAX_WAIT_MS = 365 * DAY_MS;

/** RFC 3339, section 5.6, without leap seconds. */
const instantField = z.iso.datetime({ offset: true });

const EXPECTED_FOR = `must be a duration up to ${formatDuration(MAX_WAIT_MS)}, or \`\${{ }}\` that gives one`;
const EXPECTED_UNTIL = 'must be an RFC 3339 time with its offset, or `${{ }}` that gives one';
const FIX_FOR = 'write a whole number and a unit (ms, s, m, h, d), such as `30s`';
const FIX_UNTIL = 'write a time such as `2030-01-31T08:00:00Z`';

const holdsTemplate = (text: string): boolean => text.includes('${{');
const isWaitable = (text: string): boolean => {
  const ms = parseDuration(text);
  return ms !== undefined && ms <= MAX_WAIT_MS;
};

const expectedFor = { error: says(EXPECTED_FOR, FIX_FOR) };
const forField = z
  .string(expectedFor)
  .refine((text) => holdsTemplate(text) || isWaitable(text), expectedFor)
  .meta({ examples: ['5m', '${{ trigger.body.delay }}'] });

const expectedUntil = { error: says(EXPECTED_UNTIL, FIX_UNTIL) };
const untilField = z
  .string(expectedUntil)
  .refine((text) => holdsTemplate(text) || parseInstant(text) !== undefined, expectedUntil)
  .meta({ examples: ['2030-01-31T08:00:00Z', '${{ trigger.body.due }}'] });

export const wait = defineKind({
  kind: 'wait',
  description: 'Lets time pass without holding a worker; its output is `{until}`, the time it waited for',
  schema: z.union([
    durationField(0, MAX_WAIT_MS, '5m'),
    closed('must be a duration, `for` or `until`', FIX_FOR, {
      for: forField.optional(),
      until: untilField.optional(),
    }),
  ]),
  keys: {},
  sites: (step) => templateSites(['wait'], step.wait, ['for', 'until']),
  credentials: () => [],
  check: ({ wait: body }) => (isRecord(body) ? below(['wait'], checkExactlyOne(body)) : []),
  compile: ({ wait: body }, values): CompiledWait => {
    if (typeof body === 'string') return { type: 'for', duration: values.template(body) };
    return body.for === undefined
      ? { type: 'until', moment: values.template(body.until) }
      : { type: 'for', duration: values.template(body.for) };
  },
});

function checkExactlyOne(body: Readonly<Record<string, unknown>>): readonly Finding[] {
  const both = 'for' in body && 'until' in body;
  if (both) {
    return [
      {
        path: ['until'],
        at: 'key',
        code: 'conflict',
        message: '`wait` has both `for` and `until`',
        fix: 'keep one of them',
      },
    ];
  }
  if (Object.keys(body).length > 0) return [];
  return [
    { path: [], code: 'required', message: '`wait` says neither `for` nor `until`', fix: 'add `for: 30s`' },
  ];
}

/** Milliseconds since 1970 of an RFC 3339 time, or undefined. */
export const parseInstant = (text: string): number | undefined =>
  instantField.safeParse(text).success ? Date.parse(text) : undefined;

/**
 * When the wait is over, in milliseconds since 1970; at or before `now`: at once.
 * @throws StepError `invalid_input` when the data gave no duration or time, ExpressionError from evaluating.
 */
export function dueAt(body: CompiledWait, scope: Scope, now: number): number {
  if (body.type === 'for') {
    const duration = body.duration.evaluate(scope);
    const ms = typeof duration === 'string' ? parseDuration(duration) : undefined;
    if (ms === undefined || ms > MAX_WAIT_MS) throw unusable('wait.for', duration, EXPECTED_FOR, FIX_FOR);
    return now + ms;
  }
  const moment = body.moment.evaluate(scope);
  const at = typeof moment === 'string' ? parseInstant(moment) : undefined;
  if (at === undefined) throw unusable('wait.until', moment, EXPECTED_UNTIL, FIX_UNTIL);
  if (at > now + MAX_WAIT_MS) {
    throw terminalError(
      'invalid_input',
      `\`wait.until\` is more than ${formatDuration(MAX_WAIT_MS)} ahead: ${preview(moment)}`,
    );
  }
  return at;
}

const unusable = (key: string, got: JsonValue, expected: string, fix: string): Error =>
  terminalError('invalid_input', `\`${key}\` ${expected}, got ${preview(got)}; ${fix}`);
