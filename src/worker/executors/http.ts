import { resolvePath } from '../../core/credentials/apply.ts';
import type { Redactor } from '../../core/credentials/redact.ts';
import { createRedactors, loadCredentials, type ReadCredential } from '../../core/credentials/secrets.ts';
import type { Credential } from '../../core/credentials/types.ts';
import { isOkStatus } from '../../core/definition/steps/http.ts';
import type { CompiledStepOf } from '../../core/definition/types.ts';
import type { EgressResponse } from '../../core/egress/types.ts';
import type { Scope } from '../../core/expressions/types.ts';
import type { JsonValue } from '../../core/json.ts';
import { retryableError, terminalError, type StepError } from '../../core/step-error.ts';
import type { Broker, Grant } from '../broker/broker.ts';
import { retryAfterMs } from './retry-after.ts';
import type { AttemptContext, Executor } from './types.ts';

export interface HttpExecutorDeps {
  readonly broker: Broker;
  readonly readCredential: ReadCredential;
}

const DEFAULT_MAX_RESPONSE_BYTES = 1_048_576;
/** 4xx that may pass by themselves (DESIGN section 5); all other 4xx say that the request is wrong. */
const RETRYABLE_STATUSES = new Set([408, 425, 429]);

/**
 * Sends one request. Its output is `{status, headers, body}`; a status ≥ 400 fails the step as `http_status` unless
 * `okStatus` lists it. Nothing that comes back, not even an error, carries the credential's value.
 */
export function createHttpExecutor(deps: HttpExecutorDeps): Executor<'http'> {
  const redactorOf = createRedactors();
  return async (step, scope, context) => {
    const { credential: name } = step.body;
    const names = name === undefined ? [] : [name];
    context.clock.pause();
    const credentials = await loadCredentials(deps.readCredential, context.tenantId, names);
    context.signal.throwIfAborted();
    context.clock.restart();
    const credential = name === undefined ? undefined : credentials.get(name);
    const redactor = redactorOf([...credentials.values()]);
    const grant = deps.broker.grant({
      // The author wrote the URL, not some code: every public host unless the step says otherwise.
      rules: step.body.egress,
      credentials,
      redactor,
      traceparent: context.traceparent,
      span: context.span,
      signal: context.signal,
      timeoutMs: context.timeoutMs,
      log: (level, message) => context.log(level, message),
    });
    try {
      const request = renderRequest(step, scope, credential);
      // The broker logs what it sends, and redacts how that fails.
      const response = await send(grant, step, request, credential, context);
      if (isOkStatus(step.body, response.status)) {
        return { type: 'done', output: redactor.json(readResponse(response)) };
      }
      const error = statusError(step, response, redactor, context.nowMs);
      context.log('warn', error.message);
      throw error;
    } finally {
      grant.close();
    }
  };
}

interface RenderedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string | undefined;
}

function renderRequest(
  step: CompiledStepOf<'http'>,
  scope: Scope,
  credential: Credential | undefined,
): RenderedRequest {
  const { body: http } = step;
  const target = http.url.evaluate(scope);
  if (typeof target !== 'string') {
    throw terminalError(
      'invalid_input',
      `\`url\` must be a string, got ${JSON.stringify(target).slice(0, 80)}`,
    );
  }
  const url = withQuery(
    http.relativeToCredential ? resolvePath(credential!, target) : target, // its name is in the document
    http.query?.evaluate(scope),
  );
  const headers = renderHeaders(http.headers?.evaluate(scope));
  const payload = http.body?.evaluate(scope);
  if (payload !== undefined && typeof payload !== 'string') headers['content-type'] ??= 'application/json';
  return {
    method: http.method,
    url,
    headers,
    body: payload === undefined || typeof payload === 'string' ? payload : JSON.stringify(payload),
  };
}

function withQuery(url: string, query: JsonValue | undefined): string {
  if (query === undefined || query === null || typeof query !== 'object' || Array.isArray(query)) return url;
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const single of Array.isArray(value) ? (value as readonly JsonValue[]) : [value]) {
      if (single !== null)
        parameters.append(name, typeof single === 'string' ? single : JSON.stringify(single));
    }
  }
  if (parameters.size === 0) return url;
  const [base = '', fragment] = url.split('#', 2);
  return `${base}${base.includes('?') ? '&' : '?'}${parameters.toString()}${fragment === undefined ? '' : `#${fragment}`}`;
}

function renderHeaders(headers: JsonValue | undefined): Record<string, string> {
  const rendered: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (value === null) continue;
    if (typeof value === 'object') {
      throw terminalError('invalid_input', `Header ${name} must be a string, number or boolean`);
    }
    rendered[name.toLowerCase()] = String(value);
  }
  return rendered;
}

const send = (
  grant: Grant,
  step: CompiledStepOf<'http'>,
  request: RenderedRequest,
  credential: Credential | undefined,
  context: AttemptContext,
): Promise<EgressResponse> =>
  grant.request({
    method: request.method,
    url: request.url,
    headers: { ...request.headers, 'idempotency-key': context.idempotencyKey },
    body: request.body,
    credential,
    redirect: step.body.followRedirects ? 'follow' : 'manual',
    maxResponseBytes: step.body.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES,
  });

/** JSON is parsed, text stays text, other bytes become base64 with `encoding`. */
function readResponse(response: EgressResponse): { readonly [key: string]: JsonValue } {
  const { status, headers, body } = response;
  const type = (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase(); // split gives one part
  if (type === 'application/json' || type.endsWith('+json')) {
    try {
      return {
        status,
        headers,
        body: body.length === 0 ? null : (JSON.parse(body.toString('utf8')) as JsonValue),
      };
    } catch {
      return { status, headers, body: body.toString('utf8') };
    }
  }
  if (isText(type, body)) return { status, headers, body: body.toString('utf8') };
  return { status, headers, body: body.toString('base64'), encoding: 'base64' };
}

function isText(type: string, body: Buffer): boolean {
  if (type.startsWith('text/') || /^application\/(xml|javascript|x-www-form-urlencoded)$/.test(type))
    return true;
  return type.endsWith('+xml') || (type === '' && !body.includes(0));
}

function statusError(
  step: CompiledStepOf<'http'>,
  response: EgressResponse,
  redactor: Redactor,
  nowMs: number,
): StepError {
  const { status } = response;
  const message = redactor.text(
    `${step.body.method} ${withoutQuery(response.url)} answered ${status}; list it under \`okStatus\` if that is no failure`,
  );
  if (status < 500 && !RETRYABLE_STATUSES.has(status)) return terminalError('http_status', message);
  const afterMs = retryAfterMs(response.headers['retry-after'], nowMs);
  return retryableError('http_status', message, afterMs === undefined ? {} : { retryAfterMs: afterMs });
}

/** Queries often carry what should not be in a log. */
const withoutQuery = (url: string): string => url.split(/[?#]/, 1)[0]!; // split gives one part
