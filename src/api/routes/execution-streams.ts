import type { Response } from 'express';
import type pg from 'pg';
import { withTenant } from '../../core/db/database.ts';
import {
  changesSince,
  decodeSeen,
  nothingSeen,
  type IdentifiedChange,
  type Seen,
  type Standing,
} from '../../core/executions/changes.ts';
import { isIdentifier } from '../../core/definition/names.ts';
import type { StepLogLine } from '../../core/executions/journal-store.ts';
import { createLogReader, LOG_PAGE, showLogLine } from '../../core/executions/logs.ts';
import { stepIdsOfExecution } from '../../core/executions/read.ts';
import { isTerminal } from '../../core/executions/status.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import type { LookHub } from '../http/look-hub.ts';
import { operation, type Operation } from '../http/operation.ts';
import { booleanParam, isId, wholeNumberParam } from '../http/params.ts';
import { openStream, type OpenStream } from '../http/stream.ts';
import { executionNotFound } from './executions.ts';

const HEARTBEAT_MS = 15_000;
const MAX_TAIL = 10_000;
const idParam = { id: 'Id of the execution' };

/** Streams that follow an execution; the hub looks for all of them. */
export const executionStreamOperations = (hub: LookHub): readonly Operation[] => [
  operation({
    id: 'getExecutionLogs',
    method: 'get',
    path: '/executions/{id}/logs',
    tag: 'executions',
    summary: 'Read the log of an execution as JSON lines, or as server-sent events',
    role: 'viewer',
    params: idParam,
    query: {
      step: z
        .string()
        .refine(isIdentifier, { error: 'must be the id of a step' })
        .optional()
        .describe('Only lines of this step'),
      tail: wholeNumberParam(0, MAX_TAIL).optional().describe('Only this many of the last lines'),
      follow: booleanParam('Go on with new lines until the execution ends'),
    },
    headers: {
      'Last-Event-ID': '`end` when that was seen; else the stream begins anew',
    },
    replies: {
      200: {
        description:
          'One JSON object a line, in order of time; or an event `log` with each, and an event `end` after the last',
        mediaType: 'application/x-ndjson',
        orMediaType: 'text/event-stream',
        schema: z.object({
          time: z.iso.datetime(),
          level: z.enum(['debug', 'info', 'warn', 'error']),
          step: z.string(),
          item: z.int().nullable().describe('Index within a forEach'),
          attempt: z.int(),
          message: z.string(),
          truncated: z.literal(true).optional().describe('The line stands for others that were left out'),
        }),
      },
      204: { description: 'The event `end` was seen: do not reconnect' },
    },
    errors: ['execution_not_found'],
    handle: async (deps, { principal, params, query, headers, signal }) => {
      const { tenantId } = principal;
      await requireStepIds(deps, tenantId, params.id);
      // What an EventSource asks for when it connects again, which it does until it is told not to.
      if (headers['last-event-id'] === LAST_EVENT) return { status: 204 };
      return {
        stream: (res) => streamLogs({ deps, hub, tenantId, executionId: params.id, signal }, query, res),
      };
    },
  }),
  operation({
    id: 'followExecution',
    method: 'get',
    path: '/executions/{id}/events',
    tag: 'executions',
    summary: 'Follow the state of an execution and its steps as server-sent events',
    role: 'viewer',
    params: idParam,
    headers: { 'Last-Event-ID': 'The `id` of the last event that was seen; the stream goes on after it' },
    replies: {
      200: {
        description:
          'Events `execution` with {"id","state"} and `step` with {"id","state","attempts"}, until the execution ends',
        mediaType: 'text/event-stream',
        schema: z.string(),
      },
      204: { description: 'The execution has ended and all of it was seen: do not reconnect' },
    },
    errors: ['execution_not_found', 'unavailable'],
    handle: async (deps, { principal, params, headers, signal }) => {
      const { tenantId } = principal;
      const stepIds = await requireStepIds(deps, tenantId, params.id);
      const lastId = headers['last-event-id'];
      const seen =
        (typeof lastId === 'string' ? decodeSeen(lastId, stepIds.length) : undefined) ?? nothingSeen(stepIds);
      if (seen.state !== undefined && isTerminal(seen.state)) return { status: 204 };
      const target = { deps, hub, tenantId, executionId: params.id, signal };
      return { stream: (res) => streamEvents(target, stepIds, seen, res) };
    },
  }),
];

/** @throws AppError `execution_not_found` */
async function requireStepIds({ db }: ApiDeps, tenantId: string, id: string): Promise<readonly string[]> {
  const ids = isId(id)
    ? await withTenant(db, tenantId, (client) => stepIdsOfExecution(client, id))
    : undefined;
  if (ids === undefined) throw executionNotFound(id);
  return ids;
}

interface Target {
  readonly deps: ApiDeps;
  readonly hub: LookHub;
  readonly tenantId: string;
  readonly executionId: string;
  /** Aborted when the reader is gone or the process drains. */
  readonly signal: AbortSignal;
}

const EVENT_STREAM = 'text/event-stream';

/** Writes a comment every now and then, as proxies cut what is silent. @returns stops it */
function keepAlive(stream: OpenStream): () => void {
  const timer = setInterval(() => {
    if (!stream.isFull()) void stream.write(': still here\n\n');
  }, HEARTBEAT_MS);
  return () => clearInterval(timer);
}

/** Server-sent events (HTML standard, section 9.2). */
const printEvent = (executionId: string, { id, change }: IdentifiedChange): string => {
  const data =
    change.type === 'execution'
      ? { id: executionId, state: change.state }
      : { id: change.step, state: change.state, attempts: change.attempts };
  return `id: ${id}\nevent: ${change.type}\ndata: ${JSON.stringify(data)}\n\n`;
};

async function streamEvents(
  target: Target,
  stepIds: readonly string[],
  from: Seen,
  res: Response,
): Promise<void> {
  const follow = startFollowing(target);
  const stream = openStream(res, `${EVENT_STREAM}; charset=utf-8`);
  const stopKeepingAlive = keepAlive(stream);
  let seen = from;
  try {
    await follow((standing) => {
      if (standing === undefined) return 'done';
      // What a slow reader misses on the way it gets as one change later.
      if (stream.isFull()) return 'more';
      const next = changesSince(seen, standing, stepIds);
      seen = next.seen;
      const text = next.changes.map((change) => printEvent(target.executionId, change)).join('');
      if (text !== '') void stream.write(text);
      return isTerminal(standing.state) ? 'done' : 'more';
    });
  } finally {
    stopKeepingAlive();
    res.end();
  }
}

interface LogQuery {
  readonly step?: string | undefined;
  readonly tail?: number | undefined;
  readonly follow: boolean;
}

/** How lines are written. */
interface LogForm {
  readonly mediaType: string;
  readonly print: (line: StepLogLine) => string;
  /** After the last line there will be. */
  readonly end: string;
  /** @returns stops it */
  readonly keepAlive: (stream: OpenStream) => () => void;
}

const LAST_EVENT = 'end';

const JSON_LINES: LogForm = {
  mediaType: 'application/x-ndjson',
  print: (line) => `${JSON.stringify(showLogLine(line))}\n`,
  end: '',
  keepAlive: () => () => {}, // it has no comments
};

const EVENTS: LogForm = {
  mediaType: EVENT_STREAM,
  print: (line) => `event: log\ndata: ${JSON.stringify(showLogLine(line))}\n\n`,
  end: `id: ${LAST_EVENT}\nevent: end\ndata: {}\n\n`,
  keepAlive,
};

/** JSON lines for everybody who does not say that events are wanted. */
const logFormFor = ({ req }: Response): LogForm =>
  req.accepts([JSON_LINES.mediaType, EVENTS.mediaType]) === EVENTS.mediaType ? EVENTS : JSON_LINES;

async function streamLogs(target: Target, query: LogQuery, res: Response): Promise<void> {
  const { deps, tenantId, executionId } = target;
  const { tail } = query;
  const form = logFormFor(res);
  const printLines = (lines: readonly StepLogLine[]): string => lines.map(form.print).join('');
  const reader = createLogReader(executionId, query.step);
  const follow = query.follow ? startFollowing(target) : undefined;
  const stream = openStream(res, `${form.mediaType}; charset=utf-8`);
  const stopKeepingAlive = form.keepAlive(stream);
  try {
    if (tail === undefined) {
      let lines: readonly StepLogLine[];
      do {
        lines = await withTenant(deps.db, tenantId, (db) => reader.next(db));
        if (!(await stream.write(printLines(lines)))) return;
      } while (lines.length === LOG_PAGE);
    } else {
      await stream.write(
        printLines(await withTenant(deps.db, tenantId, (db) => reader.skipToLast(db, tail))),
      );
    }
    await follow?.(async (standing, db) => {
      if (stream.isFull()) return 'more';
      const lines = await reader.next(db);
      void stream.write(printLines(lines));
      // Lines are committed before or with the end that was seen, so all of them have been read by now.
      const hasEnded = standing === undefined || isTerminal(standing.state);
      return hasEnded && lines.length < LOG_PAGE ? 'done' : 'more';
    });
    // A process that drains has more to tell, to whoever connects again.
    if (!target.signal.aborted) await stream.write(form.end);
  } finally {
    stopKeepingAlive();
    follow?.cancel();
    res.end();
  }
}

type OnLook = (standing: Standing | undefined, db: pg.PoolClient) => Promise<Verdict> | Verdict;
type Verdict = 'more' | 'done';

interface Following {
  /** Resolves when `onLook` says that it is done, the reader is gone, or the process drains. */
  (onLook: OnLook): Promise<void>;
  cancel(): void;
}

/**
 * Takes a place among the followers at once, so that a refusal is still a 503, and begins to look when it is called.
 *
 * @throws AppError `unavailable`
 */
function startFollowing({ hub, tenantId, executionId, signal }: Target): Following {
  const { promise, resolve } = Promise.withResolvers<void>();
  let onLook: OnLook = () => 'more';
  const cancel = hub.follow({
    tenantId,
    executionId,
    onLook: async (standing, db) => {
      if ((await onLook(standing, db)) === 'done') resolve();
    },
  });
  if (signal.aborted) resolve();
  signal.addEventListener('abort', () => resolve(), { once: true });
  const following = async (handler: OnLook): Promise<void> => {
    onLook = handler;
    await promise.finally(cancel);
  };
  return Object.assign(following, { cancel });
}
