import { isRecord, type JsonObject, type JsonValue } from '../../json.ts';
import { terminalError } from '../../step-error.ts';
import type { Scope } from '../../expressions/types.ts';
import { z } from '../../zod.ts';
import { closed, integerField, templateField } from '../fields.ts';
import { preview } from '../findings.ts';
import { checkHeaders, headersField, isSendableHeader, RESERVED_IN_RESPONSES } from '../headers.ts';
import type { CompiledRespond } from '../types.ts';
import { says } from '../zod-findings.ts';
import { defineKind, templateSites } from './kind.ts';

const DEFAULT_STATUS = 200;
const KEYS = ['status', 'headers', 'body'] as const;

const EXPECTED_STATUS = 'must be a status from 200 to 599, or one `${{ }}` that gives one';
const FIX_STATUS = 'write a status such as 200';

export const respond = defineKind({
  kind: 'respond',
  description: 'Says what a webhook with `respond: result` answers; its output is what it said',
  schema: closed(
    'must be an object with `status`, `headers` or `body`',
    'write `respond: { status: 200, body: { ok: true } }`',
    {
      status: z
        .union([integerField(200, 599), z.string().regex(/^\$\{\{.*\}\}$/s)], {
          error: says(EXPECTED_STATUS, FIX_STATUS),
        })
        .optional()
        .meta({ default: DEFAULT_STATUS }),
      headers: headersField.optional(),
      body: templateField.optional(),
    },
  ),
  keys: {},
  sites: (step) => templateSites(['respond'], step.respond, KEYS),
  credentials: () => [],
  check: ({ respond: body }, { answersSenders }) => [
    ...(isRecord(body) ? checkHeaders(body.headers, ['respond', 'headers'], RESERVED_IN_RESPONSES) : []),
    ...(answersSenders
      ? []
      : [
          {
            path: ['respond'],
            at: 'key',
            code: 'no_effect',
            message: '`respond` answers nobody: no webhook trigger of this workflow waits for the result',
            fix: 'write `respond: result` in the webhook trigger, or remove this step',
          } as const,
        ]),
  ],
  compile: ({ respond: body }, values) => ({
    status: values.template(body.status ?? DEFAULT_STATUS),
    headers: body.headers === undefined ? undefined : values.template(body.headers),
    body: body.body === undefined ? undefined : values.template(body.body),
  }),
});

/** What the sender is answered; also the step's output. */
export interface RenderedResponse extends JsonObject {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Null: an empty body. */
  readonly body: JsonValue;
}

/** @throws StepError `invalid_input` for a status or header that cannot be sent, ExpressionError from evaluating. */
export function renderRespond(step: CompiledRespond, scope: Scope): RenderedResponse {
  const status = step.status.evaluate(scope);
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 200 || status > 599) {
    throw terminalError('invalid_input', `\`respond.status\` ${EXPECTED_STATUS}, got ${preview(status)}`);
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(step.headers?.evaluate(scope) ?? {})) {
    if (value === null) continue;
    const text = String(value);
    if (typeof value === 'object' || !isSendableHeader(name, text, RESERVED_IN_RESPONSES)) {
      throw terminalError(
        'invalid_input',
        `\`respond.headers\`: ${name} cannot be sent as ${preview(value)}`,
      );
    }
    headers[name] = text;
  }
  return { status, headers, body: step.body?.evaluate(scope) ?? null };
}
