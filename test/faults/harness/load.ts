import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { SIGNERS } from '../../support/signatures.ts';
import { quantile } from '../../../bench/statistics.ts';

/** What the client knows of one request: `info` is everything after which the delivery may or may not be there. */
export interface Sent {
  readonly id: string;
  readonly outcome: 'ok' | 'fail' | 'info';
  /** The status, or the error's code. */
  readonly answer: number | string;
  readonly retryAfter: string | undefined;
  readonly executionId: string | undefined;
  readonly duplicate: boolean | undefined;
  /** Of this machine's clock. */
  readonly sentAtMs: number;
  readonly tookMs: number;
}

/** The answers of a span of time. */
export interface Span {
  readonly sent: readonly Sent[];
  /** How many of each status or error. */
  readonly answers: Readonly<Record<string, number>>;
  readonly p99Ms: number;
}

export interface Load {
  /** Everything that was answered, or not, so far. */
  readonly sent: readonly Sent[];
  /** What is sent from now until `work` is done. */
  during(work: () => Promise<void>): Promise<Span>;
  /** Sends this many a second from now on, as while a fault lasts for seconds; 0 pauses. */
  pace(perSecond: number): void;
  /** Waits for the answers to all that was sent so far. */
  answered(): Promise<void>;
  /** Sends no more, and waits for the answers. */
  stop(): Promise<void>;
}

export interface LoadOptions {
  /** Of the API, without path. */
  readonly origin: string;
  readonly hook: string;
  readonly perSecond: number;
  /** Instead of one of the load's own. */
  readonly sender?: Sender;
}

/** After this long the client gives up; no answer of ours may take it. */
const TIME_OUT_MS = 30_000;

/** A client that sends webhooks at a steady rate, whatever becomes of them, each with an id of its own. */
export function startLoad(options: LoadOptions): Load {
  const sender = options.sender ?? createSender(options);
  const sent: Sent[] = [];
  const underWay = new Set<Promise<void>>();
  const stopping = new AbortController();
  const pace = { perSecond: options.perSecond };
  const sending = (async () => {
    for (
      let dueAt = performance.now();
      !stopping.signal.aborted;
      dueAt += 1000 / Math.max(pace.perSecond, 1)
    ) {
      const dueInMs = dueAt - performance.now();
      if (dueInMs > 0) await delay(dueInMs);
      for (; pace.perSecond === 0 && !stopping.signal.aborted; dueAt = performance.now()) await delay(10);
      if (stopping.signal.aborted) return;
      const one = sender.send(randomUUID()).then((result) => {
        sent.push(result);
        underWay.delete(one);
      });
      underWay.add(one);
    }
  })();
  return {
    sent,
    pace(next) {
      pace.perSecond = next;
    },
    async answered() {
      await Promise.all(underWay);
    },
    async during(work) {
      const fromMs = Date.now();
      await work();
      const untilMs = Date.now();
      // Requests of this span may be answered later.
      const open = [...underWay];
      await Promise.all(open);
      return toSpan(sent.filter((one) => one.sentAtMs >= fromMs && one.sentAtMs < untilMs));
    },
    async stop() {
      stopping.abort();
      await sending;
      await Promise.all(underWay);
      await sender.close();
    },
  };
}

export function toSpan(sent: readonly Sent[]): Span {
  const answers: Record<string, number> = {};
  for (const { answer } of sent) answers[answer] = (answers[answer] ?? 0) + 1;
  return {
    sent,
    answers,
    p99Ms:
      sent.length === 0
        ? 0
        : quantile(
            sent.map(({ tookMs }) => tookMs),
            0.99,
          ),
  };
}

export interface Sender {
  /** Sends a delivery with this id, signed as GitHub does. Never throws. */
  send(id: string): Promise<Sent>;
  close(): Promise<void>;
}

export function createSender(options: Pick<LoadOptions, 'origin' | 'hook'>): Sender {
  // As many as there are requests under way: senders do not wait for each other.
  const pool = new Pool(options.origin, { connections: 1000, pipelining: 1, connectTimeout: 5000 });
  return {
    async send(id) {
      const body = Buffer.from(JSON.stringify({ id }));
      const sentAtMs = Date.now();
      const startedAt = performance.now();
      const result = (part: Pick<Sent, 'outcome' | 'answer'> & Partial<Sent>): Sent => ({
        id,
        sentAtMs,
        tookMs: performance.now() - startedAt,
        retryAfter: undefined,
        executionId: undefined,
        duplicate: undefined,
        ...part,
      });
      try {
        const response = await pool.request({
          method: 'POST',
          path: options.hook,
          headers: { 'content-type': 'application/json', ...SIGNERS.github(body, id) },
          body,
          headersTimeout: TIME_OUT_MS,
          bodyTimeout: TIME_OUT_MS,
        });
        const status = response.statusCode;
        const text = await response.body.text();
        if (status >= 200 && status < 300) {
          const answer = JSON.parse(text) as { readonly executionId: string; readonly duplicate: boolean };
          return result({
            outcome: 'ok',
            answer: status,
            executionId: answer.executionId,
            duplicate: answer.duplicate,
          });
        }
        const retryAfter = response.headers['retry-after'];
        return result({
          outcome: status < 500 ? 'fail' : 'info',
          answer: status,
          ...(typeof retryAfter === 'string' ? { retryAfter } : {}),
        });
      } catch (raw) {
        const error = raw as NodeJS.ErrnoException;
        return result({ outcome: 'info', answer: error.code ?? error.name });
      }
    },
    close: () => pool.destroy(),
  };
}
