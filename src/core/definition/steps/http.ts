import { parseHostPattern, RESERVED_CREDENTIAL_NAMES } from '../../credentials/types.ts';
import { isAllowed, ruleFor } from '../../egress/allow-list.ts';
import { isRecord } from '../../json.ts';
import { z } from '../../zod.ts';
import { booleanField, closed, credentialField, enumField, integerField, templateField } from '../fields.ts';
import { preview, type Finding } from '../findings.ts';
import { checkHeaders, headersField, RESERVED_IN_REQUESTS } from '../headers.ts';
import { isKebabName } from '../names.ts';
import { HTTP_METHODS, type CompiledHttp, type StatusRange } from '../types.ts';
import { says } from '../zod-findings.ts';
import { below, defineKind, templateSites, type RawStep } from './kind.ts';
import { checkSandboxKeys, compileEgress, egressField } from './sandbox-keys.ts';

const DEFAULT_METHOD = 'GET';
const MAX_RESPONSE_BYTES = 10 * 1024 * 1024;
const TEMPLATE_KEYS = ['url', 'headers', 'query', 'body'] as const;
/** `credential-name:/path`; two slashes make it a URL. */
const RELATIVE = /^([A-Za-z][A-Za-z0-9-]*):(\/(?!\/).*)$/s;
const STATUS = /^([1-5])(\d\d|xx)(?:-([1-5]\d\d))?$/;

const okStatusHint = {
  error: says('must be a status, a class or a range', 'write `404`, `4xx` or `400-404`'),
};
const okStatusField = z.union(
  [
    integerField(100, 599),
    z
      .string(okStatusHint)
      .regex(STATUS, { ...okStatusHint, abort: true })
      .refine(isRange, okStatusHint),
  ],
  okStatusHint,
);

const queryField = z.record(z.string(), templateField, {
  error: says('must be an object of parameters', 'write `query: { page: 1 }`; a list repeats the parameter'),
});

export const http = defineKind({
  kind: 'http',
  description: 'Sends one HTTP request; its output is `{status, headers, body}`',
  schema: closed('must be an object with a `url`', 'write `http: { url: "https://example.com/" }`', {
    method: enumField(HTTP_METHODS).optional().meta({ default: DEFAULT_METHOD }),
    url: z
      .string({
        error: says('must be a URL, or `credential-name:/path`', 'write `url: "https://example.com/"`'),
      })
      .meta({
        examples: ['https://crm.example.com/customers/${{ trigger.body.customer }}', 'crm:/customers'],
      }),
    headers: headersField.optional(),
    query: queryField.optional(),
    body: templateField.optional(),
    credential: credentialField.optional(),
    okStatus: z
      .array(okStatusField, { error: says('must be a list of statuses', 'write `okStatus: [404]`') })
      .max(50, { error: says('must have at most 50 entries', 'use ranges such as `400-404`') })
      .optional(),
    followRedirects: booleanField().optional().meta({ default: true }),
    maxResponseBytes: integerField(1, MAX_RESPONSE_BYTES).optional(),
  }),
  keys: { egress: egressField.optional() },
  refusedKeys: {
    credentials: {
      code: 'no_effect',
      message: '`credentials` has no effect on an `http` step, which uses one',
      fix: 'write `http: { credential: <name> }`',
    },
    secrets: {
      code: 'no_effect',
      message: '`secrets` has no effect on an `http` step, which runs no code that could read them',
      fix: 'save what it sends as a credential of type bearer, basic or api-key, and write `http: { credential: <name> }`',
    },
  },
  sites: (step) => templateSites(['http'], step.http, TEMPLATE_KEYS),
  credentials: ({ http: body }) => {
    if (!isRecord(body)) return [];
    const relative = relativeUrl(body.url);
    return [
      ...(relative === undefined
        ? []
        : [{ path: ['http', 'url'], name: relative.credential, purpose: 'send' as const }]),
      ...(typeof body.credential === 'string'
        ? [{ path: ['http', 'credential'], name: body.credential, purpose: 'send' as const }]
        : []),
    ];
  },
  check: (step, context) => [...checkRequest(step), ...checkReach(step), ...checkSandboxKeys(step, context)],
  compile: ({ http: body, egress }, values): CompiledHttp => {
    const relative = relativeUrl(body.url);
    const optional = (json: unknown) => (json === undefined ? undefined : values.template(json));
    return {
      method: body.method ?? DEFAULT_METHOD,
      url: values.template(relative?.path ?? body.url),
      relativeToCredential: relative !== undefined,
      credential: relative?.credential ?? body.credential,
      headers: optional(body.headers),
      query: optional(body.query),
      body: optional(body.body),
      okStatus: (body.okStatus ?? []).map(statusRange),
      followRedirects: body.followRedirects ?? true,
      maxResponseBytes: body.maxResponseBytes,
      egress: egress === undefined ? undefined : compileEgress(egress),
    };
  },
});

function checkRequest({ http: body }: RawStep): readonly Finding[] {
  if (!isRecord(body)) return [];
  return below(
    ['http'],
    [...checkUrl(body), ...checkBody(body), ...checkHeaders(body.headers, ['headers'], RESERVED_IN_REQUESTS)],
  );
}

/** Whether a response with this status is a success: below 400, or listed. */
export const isOkStatus = (step: Pick<CompiledHttp, 'okStatus'>, status: number): boolean =>
  status < 400 || step.okStatus.some(({ from, to }) => from <= status && status <= to);

function statusRange(entry: number | string): StatusRange {
  if (typeof entry === 'number') return { from: entry, to: entry };
  const [, hundreds, rest, end] = STATUS.exec(entry) ?? [];
  if (rest === 'xx') return { from: Number(`${hundreds}00`), to: Number(end ?? `${hundreds}99`) };
  const from = Number(`${hundreds}${rest}`);
  return { from, to: end === undefined ? from : Number(end) };
}

function isRange(text: string): boolean {
  const { from, to } = statusRange(text);
  return from <= to && !/xx-/.test(text);
}

/** The credential is read from what the author wrote alone: data can never name one. */
function relativeUrl(url: unknown): { readonly credential: string; readonly path: string } | undefined {
  if (typeof url !== 'string') return undefined;
  const [, credential = '', path = ''] = RELATIVE.exec(url) ?? [];
  return isKebabName(credential) && !RESERVED_CREDENTIAL_NAMES.has(credential)
    ? { credential, path }
    : undefined;
}

function checkUrl(body: Readonly<Record<string, unknown>>): readonly Finding[] {
  const { url, credential } = body;
  if (typeof url !== 'string') return [];
  const relative = relativeUrl(url);
  if (relative !== undefined) {
    if (credential === undefined || credential === relative.credential) return [];
    const message = `\`url\` uses the credential ${relative.credential}, but \`credential\` is ${preview(credential)}`;
    return [
      { path: ['credential'], code: 'conflict', message, fix: 'remove `credential`, or write a whole URL' },
    ];
  }
  const problem = urlProblem(url);
  return problem === undefined ? [] : [{ path: ['url'], code: 'invalid_value', ...problem }];
}

function urlProblem(url: string): { readonly message: string; readonly fix: string } | undefined {
  const template = url.indexOf('${{');
  const literal = template === -1 ? url : url.slice(0, template);
  // Wholly made of data: checked when it is rendered.
  if (template === 0) return undefined;
  if (!/^https?:\/\//i.test(literal)) {
    return {
      message: `\`url\` must begin with https://, http:// or \`credential-name:/\`, got ${preview(url)}`,
      fix: 'write the whole URL, such as `https://example.com/orders`',
    };
  }
  if (/^https?:\/\/[^/?#\\]*@/i.test(literal)) {
    return {
      message: '`url` must not hold a user name or password',
      fix: 'save them as a credential and write `credential: <name>`',
    };
  }
  if (template === -1 && !URL.canParse(url)) {
    return { message: `\`url\` is not a URL: ${preview(url)}`, fix: 'check the host name and the port' };
  }
  return undefined;
}

/** Scheme, host and port, when they are written out. */
const ORIGIN = /^https?:\/\/[^/?#\\$]+(?=[/?#]|$)/i;

/** A host that `egress` leaves out is found now, not when it is called. What a credential allows is not known here. */
function checkReach({ http: body, egress }: RawStep): readonly Finding[] {
  if (!isRecord(body) || !Array.isArray(egress) || body.credential !== undefined) return [];
  const [origin] = typeof body.url === 'string' ? (ORIGIN.exec(body.url) ?? []) : [];
  const url = origin === undefined ? null : URL.parse(origin);
  const rules = egress.map((host: unknown) =>
    typeof host === 'string' ? parseHostPattern(host) : undefined,
  );
  if (url === null || rules.some((rule) => rule === undefined)) return []; // the schema says so already
  if (
    isAllowed(
      rules.flatMap((rule) => rule ?? []),
      url,
    )
  )
    return [];
  return [
    {
      path: ['http', 'url'],
      code: 'conflict',
      message: `\`egress\` of this step does not list ${ruleFor(url)}, which it calls`,
      fix: `add \`${ruleFor(url)}\` to \`egress\`, or correct the URL`,
    },
  ];
}

function checkBody(body: Readonly<Record<string, unknown>>): readonly Finding[] {
  const method = body.method ?? DEFAULT_METHOD;
  if (!Object.hasOwn(body, 'body') || (method !== 'GET' && method !== 'HEAD')) return [];
  const message = `a ${method} request carries no body${body.method === undefined ? '; GET is the default method' : ''}`;
  return [
    {
      path: ['body'],
      at: 'key',
      code: 'conflict',
      message,
      fix: 'add `method: POST`, or move it to `query`',
    },
  ];
}
