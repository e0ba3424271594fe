import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { makeId } from '../../core/db/ids.ts';
import { isEndpointId, type EndpointDirectory, type LiveEndpoint } from '../../core/deliveries/endpoints.ts';
import type { Ingest, IngestOutcome } from '../../core/deliveries/ingest.ts';
import { AppError, appError, coerceError } from '../../core/errors/app-error.ts';
import type { PassFailpoint } from '../../core/failpoints.ts';
import type { WatchExecution } from '../../core/executions/watch.ts';
import type { HintPublisher } from '../../core/hints/types.ts';
import type { Logger } from '../../core/logger.ts';
import type { Metrics } from '../../core/telemetry/metrics.ts';
import { validTraceparent } from '../../core/telemetry/traceparent.ts';
import { sendProblem, toAppError } from '../http/problem.ts';
import { readBody } from '../http/read-body.ts';
import type { BacklogGuard } from './backlog.ts';
import { judge, queryOf, type Judgement } from './judge.ts';
import { createRateLimiter, type RateLimiter } from './rate-limit.ts';
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
  readonly metrics: Pick<Metrics, 'deliveries' | 'httpRequestDuration'>;
  readonly logger: Logger;
}

const PREFIX = '/hooks/';
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
    res.once('close', () => {
      deps.metrics.httpRequestDuration.observe(
        { route: '/hooks', status: res.writableFinished ? String(res.statusCode) : '499' },
        (performance.now() - startedAtMs) / 1000,
      );
    });
    handle(deps, limits, req, res).catch((raw: unknown) => refuse(deps, req, res, raw));
  };
}

function refuse(deps: HooksDeps, req: IncomingMessage, res: ServerResponse, raw: unknown): void {
  const error = toAppError(raw);
  const requestId = randomUUID();
  if (error.kind === 'internal' && error.code !== 'execution_failed') {
    deps.logger.error({ err: error.cause ?? error, requestId }, 'a webhook failed inside the platform');
  }
  if (error.kind === 'unavailable' || error.kind === 'limited')
    deps.metrics.deliveries.inc({ outcome: 'shed' });
  req.resume();
  if (!res.headersSent) res.setHeader('x-request-id', requestId);
  sendProblem(res, error, requestId);
}

async function handle(
  deps: HooksDeps,
  limits: Limits,
  req: IncomingMessage & { originalUrl?: string },
  res: ServerResponse,
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
    await takeIn(deps, limits, endpoint, url, req, res);
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
): Promise<void> {
  const body = await readBody(req, { maxBytes: deps.maxBodyBytes });
  const nowMs = deps.now();
  const deliveryId = makeId(nowMs);
  const judgement = judge(
    endpoint,
    { method: 'POST', url: deps.publicHooksUrl + url, rawHeaders: req.rawHeaders, body, nowMs },
    deliveryId,
  );
  await answer(deps, limits, { endpoint, judgement, deliveryId, nowMs, query: queryOf(url), body, req, res });
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
  readonly nowMs: number;
  readonly query: string;
  readonly body: Buffer;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
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
      deps.metrics.deliveries.inc({ outcome: 'filtered' });
      answerJson(res, 202, { deliveryId, filtered: true });
      return;
    case 'accepted': {
      const outcome = await commit(deps, received, makeId(received.nowMs));
      deps.metrics.deliveries.inc({ outcome: outcome.duplicate ? 'duplicate' : 'accepted' });
      deps.passFailpoint('hooks.before-hint');
      if (!outcome.duplicate && outcome.executionId !== null) {
        deps.hints.publish([{ executionId: outcome.executionId, dispatchNumber: 0 }]);
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

/** Resolves only when PostgreSQL has confirmed the commit. */
async function commit(
  deps: HooksDeps,
  received: Received,
  executionId: string | null,
): Promise<IngestOutcome> {
  const { endpoint, judgement, deliveryId, query, body, req } = received;
  if (judgement.verdict === 'handshake') throw new Error('a handshake is not recorded');
  const traceparent = validTraceparent(req.headers['traceparent']);
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
    });
  } catch (raw) {
    if (raw instanceof AppError) throw raw;
    // Whatever it was, a 2xx would be a lie and a 4xx would stop the sender from trying again.
    deps.logger.warn({ err: coerceError(raw) }, 'a delivery was not confirmed by the database');
    throw appError('storage_unavailable', { retryAfterS: RETRY_AFTER_S, cause: raw });
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
