import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { makeId } from '../../core/db/ids.ts';
import { isEndpointId, type EndpointDirectory, type LiveEndpoint } from '../../core/deliveries/endpoints.ts';
import type { Ingest, IngestOutcome } from '../../core/deliveries/ingest.ts';
import { AppError, appError, coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import type { PassFailpoint } from '../../core/failpoints.ts';
import type { WatchExecution } from '../../core/executions/watch.ts';
import type { HintPublisher } from '../../core/hints/types.ts';
import type { Logger } from '../../core/logger.ts';
import { createRateLimiter, type RateLimiter } from '../../core/rate-limit.ts';
import type { Metrics } from '../../core/telemetry/metrics.ts';
import { traceIdOf, validTraceparent } from '../../core/telemetry/traceparent.ts';
import type { SpanOptions, Trace, Tracing } from '../../core/telemetry/tracing.ts';
import { endServerSpan, statusLabel, statusOf } from '../http/exchange.ts';
import { sendProblem, toAppError } from '../http/problem.ts';
import { readBody } from '../http/read-body.ts';
import type { BacklogGuard } from './backlog.ts';
import { judge, queryOf, type Judgement } from './judge.ts';
import { answerJson, answerResult } from './answer.ts';

export interface HooksDeps {
  readonly endpoints: Pick<EndpointDirectory, 'find'>;
  readonly ingest: Ingest;
  readonly hints: Pick<HintPublisher, 'publish'>;
  readonly backlog: Pick<BacklogGuard, 'isFull'>;
  readonly watchExecution: WatchExecution;
  /** The database's clock. */
  readonly now: () => number;
  /** Where senders reach this API; what signatures over the URL are made of. */
  readonly publicHooksUrl: string;
  readonly maxBodyBytes: number;
  readonly rateLimitPerEndpoint: number;
  readonly rateLimitPerTenant: number;
  readonly stopping: AbortSignal;
  readonly passFailpoint: PassFailpoint;
  readonly metrics: Pick<Metrics, 'deliveries' | 'httpRequestDuration' | 'acceptDuration'>;
  readonly tracing: Tracing | undefined;
  readonly logger: Logger;
}

const PREFIX = '/hooks/';
const SPAN_NAME = 'POST /hooks';
/** Never with the path: it is what lets somebody send. */
const SERVER: SpanOptions = {
  kind: 'server',
  attributes: { 'http.route': '/hooks', 'http.request.method': 'POST' },
};
/** Requests that wait for a commit at most; beyond it the database is slower than the senders. */
const MAX_WAITING = 10_000;
/** Refused requests that are recorded, for each endpoint and second; an attack is a sample. */
const RECORDED_REFUSALS_PER_SECOND = 20;
const MAX_RECORDED_REFUSAL_BYTES = 65_536;
/** Bodies in memory at most, read or about to be; what a request says (or may) hold is reserved before it is read. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
const RETRY_AFTER_S = 2;
const BACKLOG_RETRY_AFTER_S = 30;

export type HooksHandler = (req: IncomingMessage & { originalUrl?: string }, res: ServerResponse) => void;

interface Limits {
  readonly perEndpoint: RateLimiter;
  readonly perTenant: RateLimiter;
  readonly refusals: RateLimiter;
  /** Bytes of bodies that are reserved now. */
  heldBytes: number;
}

/**
 * The ingest path: `POST /hooks/{endpointId}` (DESIGN section 3). It stands before Express, because this is the one
 * route whose speed is a promise; it can be mounted in Express all the same.
 */
export function createHooksHandler(deps: HooksDeps): HooksHandler {
  const limits: Limits = {
    perEndpoint: createRateLimiter(deps.rateLimitPerEndpoint),
    perTenant: createRateLimiter(deps.rateLimitPerTenant),
    refusals: createRateLimiter(RECORDED_REFUSALS_PER_SECOND),
    heldBytes: 0,
  };
  return (req, res) => {
    const startedAtMs = performance.now();
    const trace = deps.tracing?.begin(SPAN_NAME, validTraceparent(req.headers['traceparent']), SERVER);
    res.once('close', () => {
      const status = statusOf(res);
      deps.metrics.httpRequestDuration.observe(
        { route: '/hooks', status: statusLabel(status) },
        (performance.now() - startedAtMs) / 1000,
        trace?.span?.traceId,
      );
      endServerSpan(trace?.span, status);
    });
    handle(deps, limits, req, res, startedAtMs, trace).catch((raw: unknown) =>
      refuse(deps, req, res, raw, trace),
    );
  };
}

function refuse(
  deps: HooksDeps,
  req: IncomingMessage,
  res: ServerResponse,
  raw: unknown,
  trace: Trace | undefined,
): void {
  const error = toAppError(raw);
  const requestId = randomUUID();
  const isOurFault = error.kind === 'internal' && error.code !== 'execution_failed';
  if (isOurFault) {
    const traceId = traceIdOf(trace?.traceparent);
    deps.logger.error(
      { err: error.cause ?? error, requestId, traceId },
      'a webhook failed inside the platform',
    );
  }
  trace?.span?.set({ 'error.type': error.code });
  if (isOurFault || error.code === 'storage_unavailable') deps.metrics.deliveries.inc({ outcome: 'failed' });
  else if (error.kind === 'limited') deps.metrics.deliveries.inc({ outcome: 'limited' });
  else if (error.kind === 'unavailable') deps.metrics.deliveries.inc({ outcome: 'shed' });
  req.resume();
  if (!res.headersSent) res.setHeader('x-request-id', requestId);
  sendProblem(res, error, requestId);
}

async function handle(
  deps: HooksDeps,
  limits: Limits,
  req: IncomingMessage & { originalUrl?: string },
  res: ServerResponse,
  startedAtMs: number,
  trace: Trace | undefined,
): Promise<void> {
  const url = req.originalUrl ?? req.url ?? '';
  const mark = url.indexOf('?');
  const id = url.slice(PREFIX.length, mark === -1 ? undefined : mark);
  if (!isEndpointId(id)) throw appError('endpoint_not_found');
  const endpoint = await deps.endpoints.find(id);
  if (endpoint === undefined) throw appError('endpoint_not_found');
  if (req.method !== 'POST') {
    res.setHeader('allow', 'POST');
    throw appError('method_not_allowed', { args: [req.method ?? ''] });
  }
  shed(deps, limits, endpoint);
  const reserved = reserve(deps, limits, req);
  try {
    await takeIn(deps, limits, endpoint, url, req, res, startedAtMs, trace);
  } finally {
    limits.heldBytes -= reserved;
  }
}

/** Reserves the memory that the body may take; a body that is compressed or of unknown length may take the limit. */
function reserve(deps: HooksDeps, limits: Limits, req: IncomingMessage): number {
  const declared = Number(req.headers['content-length'] ?? NaN);
  const isPlain = req.headers['content-encoding'] === undefined && declared <= deps.maxBodyBytes;
  const bytes = isPlain ? declared : deps.maxBodyBytes;
  if (limits.heldBytes + bytes > MAX_HELD_BYTES) {
    throw appError('unavailable', { args: [RETRY_AFTER_S], retryAfterS: RETRY_AFTER_S });
  }
  limits.heldBytes += bytes;
  return bytes;
}

async function takeIn(
  deps: HooksDeps,
  limits: Limits,
  endpoint: LiveEndpoint,
  url: string,
  req: IncomingMessage,
  res: ServerResponse,
  startedAtMs: number,
  trace: Trace | undefined,
): Promise<void> {
  const body = await readBody(req, { maxBytes: deps.maxBodyBytes });
  const nowMs = deps.now();
  const deliveryId = makeId(nowMs);
  const verifying = trace?.span?.child('delivery.verify');
  const judgement = judge(
    endpoint,
    { method: 'POST', url: deps.publicHooksUrl + url, rawHeaders: req.rawHeaders, body, nowMs },
    deliveryId,
  );
  verifying?.set({ 'delivery.verdict': judgement.verdict });
  verifying?.end();
  trace?.span?.set({ 'delivery.id': deliveryId, 'workflow.id': endpoint.workflowId });
  const query = queryOf(url);
  const received = { endpoint, judgement, deliveryId, startedAtMs, nowMs, query, body, req, res, trace };
  await answer(deps, limits, received);
}

/** Refuses before the body is read. */
function shed(deps: HooksDeps, limits: Limits, endpoint: LiveEndpoint): void {
  if (!limits.perEndpoint.take(endpoint.id) || !limits.perTenant.take(endpoint.tenantId)) {
    throw appError('rate_limited', { args: [1], retryAfterS: 1 });
  }
  if (deps.backlog.isFull()) {
    throw appError('backlog_full', { args: [BACKLOG_RETRY_AFTER_S], retryAfterS: BACKLOG_RETRY_AFTER_S });
  }
  if (deps.ingest.size() >= MAX_WAITING) {
    throw appError('unavailable', { args: [RETRY_AFTER_S], retryAfterS: RETRY_AFTER_S });
  }
}

interface Received {
  readonly endpoint: LiveEndpoint;
  readonly judgement: Judgement;
  readonly deliveryId: string;
  /** By the monotonic clock. */
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly query: string;
  readonly body: Buffer;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly trace: Trace | undefined;
}

async function answer(deps: HooksDeps, limits: Limits, received: Received): Promise<void> {
  const { endpoint, judgement, deliveryId, res } = received;
  switch (judgement.verdict) {
    case 'handshake': {
      const { status, contentType, body } = judgement.handshake;
      res.writeHead(status, { 'content-type': contentType, 'x-content-type-options': 'nosniff' }).end(body);
      return;
    }
    case 'rejected':
      deps.metrics.deliveries.inc({ outcome: 'rejected' });
      if (limits.refusals.take(endpoint.id)) await recordRefusal(deps, received);
      throw judgement.error;
    case 'filtered':
      await commit(deps, received, null);
      noteAccepted(deps, received, 'filtered');
      answerJson(res, 202, { deliveryId, filtered: true });
      return;
    case 'accepted': {
      const outcome = await commit(deps, received, makeId(received.nowMs));
      noteAccepted(deps, received, outcome.duplicate ? 'duplicate' : 'accepted');
      deps.passFailpoint('hooks.before-hint');
      if (!outcome.duplicate && outcome.executionId !== null) {
        const { executionId } = outcome;
        deps.hints.publish([{ executionId, dispatchNumber: 0, span: received.trace?.span }]);
      }
      deps.passFailpoint('hooks.before-answer');
      if (endpoint.trigger.respond === 'result') await answerWithResult(deps, received, outcome);
      else answerJson(res, 202, outcome);
      return;
    }
    default:
      judgement satisfies never;
  }
}

function noteAccepted(
  deps: HooksDeps,
  { startedAtMs, trace }: Received,
  outcome: 'accepted' | 'duplicate' | 'filtered',
): void {
  deps.metrics.deliveries.inc({ outcome });
  const seconds = (performance.now() - startedAtMs) / 1000;
  deps.metrics.acceptDuration.observe({}, seconds, trace?.span?.traceId);
}

/** Resolves only when PostgreSQL has confirmed the commit. */
async function commit(
  deps: HooksDeps,
  received: Received,
  executionId: string | null,
): Promise<IngestOutcome> {
  const { endpoint, judgement, deliveryId, query, body, req, trace } = received;
  if (judgement.verdict === 'handshake') throw new Error('a handshake is not recorded');
  const traceparent = trace?.traceparent ?? validTraceparent(req.headers['traceparent']);
  const span = trace?.span?.child('delivery.commit');
  try {
    return await deps.ingest.add({
      deliveryId,
      tenantId: endpoint.tenantId,
      workflowId: endpoint.workflowId,
      version: endpoint.version,
      endpointId: endpoint.id,
      triggerName: endpoint.trigger.name,
      verdict: judgement.verdict,
      executionId,
      method: 'POST',
      query,
      headersJson: JSON.stringify(judgement.headers),
      body,
      ...(judgement.verdict === 'accepted' ? {} : { reason: judgement.reason }),
      ...(judgement.verdict === 'accepted' && judgement.dedupeKey !== undefined
        ? { dedupeKey: judgement.dedupeKey }
        : {}),
      ...(traceparent === undefined ? {} : { traceparent }),
      span,
    });
  } catch (raw) {
    span?.fail(errorCodeOf(raw) ?? 'storage_unavailable');
    if (raw instanceof AppError) throw raw;
    // Whatever it was, a 2xx would be a lie and a 4xx would stop the sender from trying again.
    const traceId = traceIdOf(traceparent);
    deps.logger.warn(
      { err: coerceError(raw), deliveryId, traceId },
      'a delivery was not confirmed by the database',
    );
    throw appError('storage_unavailable', { retryAfterS: RETRY_AFTER_S, cause: raw });
  } finally {
    span?.end();
  }
}

/** A refusal that cannot be recorded is a refusal all the same. */
async function recordRefusal(deps: HooksDeps, received: Received): Promise<void> {
  const body = received.body.length > MAX_RECORDED_REFUSAL_BYTES ? Buffer.alloc(0) : received.body;
  await commit(deps, { ...received, body }, null).catch((raw: unknown) =>
    deps.logger.warn({ err: coerceError(raw) }, 'a refused delivery could not be recorded'),
  );
}

async function answerWithResult(deps: HooksDeps, received: Received, outcome: IngestOutcome): Promise<void> {
  const { endpoint, res } = received;
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  const snapshot =
    outcome.executionId === null
      ? undefined
      : await deps.watchExecution(
          endpoint.tenantId,
          outcome.executionId,
          deps.now() + endpoint.trigger.waitMs,
          AbortSignal.any([gone.signal, deps.stopping]),
          'answered',
        );
  answerResult(res, outcome, snapshot);
}
