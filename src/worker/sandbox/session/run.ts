import { randomBytes } from 'node:crypto';
import { ProtocolError } from '../../../core/sandbox/frames.ts';
import { PROCESS_ENDED, type FailureDetail, type RunnerHeader } from '../../../core/sandbox/protocol.ts';
import type { RunEnd, RunRequest } from '../types.ts';
import { createRunFetches, type FetchHeader } from './fetches.ts';
import { createRunLog } from './logs.ts';
import { CANCELLED, parseFailure, parseOutput } from './payloads.ts';
import { sendParts } from './parts.ts';
import type { FrameWriter } from './writer.ts';

/** What the code gets to end by itself after `ctx.signal`; then its slot is ended. */
const CANCEL_GRACE_MS = 200;
/** What the runner gets for ending the slot. */
const FORCE_MS = 1000;
/** A slot is there much sooner; a runner that does not say so has the time counted from then on. */
const MAX_WAIT_MS = 10_000;

type Of<T extends RunnerHeader['type']> = Extract<RunnerHeader, { readonly type: T }>;
export type RunHeader = FetchHeader | Of<'waiting' | 'started' | 'log' | 'result' | 'failed'>;

/** A request to run something, until it is settled. */
export interface ActiveRun {
  readonly nonce: string;
  /** Settled exactly once. */
  readonly ended: Promise<RunEnd>;
  /** Sends it, now that its program is there; does nothing when it is settled already. */
  start(): void;
  /** @throws ProtocolError for what no honest runner sends */
  handle(header: RunHeader, payload: Uint8Array): void;
  /** Its sandbox is ending: nothing is fetched for it any more. */
  abandon(): void;
  /** Ends it from this side. */
  settle(end: RunEnd): void;
  reject(error: Error): void;
}

export interface RunDeps {
  readonly writer: FrameWriter;
  readonly onError: (error: Error) => void;
  /** The run is settled; whether its slot was replaced, or may not be free. */
  readonly onSettled: (nonce: string, isSlotLost: boolean) => void;
  /** It was cancelled, and the runner has not ended it; it is settled as cancelled next. */
  readonly onOverdue: () => void;
  /** The run has ended with its process. Whether the sandbox is lost for what ended that; the run is rejected then. */
  readonly onProcessEnded: () => Promise<boolean>;
}

export function createActiveRun(deps: RunDeps, request: RunRequest, payload: Uint8Array): ActiveRun {
  const { writer } = deps;
  const { signal, program, maxOutputBytes, maxLogBytes } = request;
  const nonce = randomBytes(16).toString('hex');
  const { promise, resolve, reject } = Promise.withResolvers<RunEnd>();
  const log = createRunLog(request);
  const fetches = createRunFetches({ nonce, fetch: request.fetch, writer, onError: deps.onError });
  let hasStarted = false;
  let isSettled = false;
  let hasFailed = false;
  let overdue: NodeJS.Timeout | undefined;
  let waited: 'not' | 'waiting' | 'over' = 'not';
  let waitTimer: NodeJS.Timeout | undefined;

  const endWait = (): void => {
    clearTimeout(waitTimer);
    if (waited !== 'waiting') return;
    waited = 'over';
    request.onWaiting?.(false);
  };
  const takeWait = (isWaiting: boolean): void => {
    if (waited === (isWaiting ? 'not' : 'waiting')) {
      if (!isWaiting) return endWait();
      waited = 'waiting';
      request.onWaiting?.(true);
      waitTimer = setTimeout(endWait, MAX_WAIT_MS);
    } else if (isWaiting || waited === 'not')
      throw new ProtocolError('a run waits twice, or starts without waiting');
  };
  const close = (isSlotLost: boolean): boolean => {
    if (isSettled) return false;
    isSettled = true;
    clearTimeout(overdue);
    clearTimeout(waitTimer);
    signal.removeEventListener('abort', cancel);
    deps.onSettled(nonce, isSlotLost);
    fetches.end();
    log.finish();
    return true;
  };
  const settle = (end: RunEnd, isSlotLost = false): void => {
    if (close(isSlotLost)) resolve(end);
  };
  const fail = async (header: Of<'failed'>, detail: FailureDetail): Promise<void> => {
    hasFailed = true;
    if (detail.name === PROCESS_ENDED && (await deps.onProcessEnded())) return;
    settle({ type: 'failed', failure: header.failure, detail }, header.slotReplaced);
  };
  const cancel = (): void => {
    if (!hasStarted) {
      // Its program is still on its way: who knows what the slot does.
      settle(CANCELLED, true);
      return;
    }
    writer.send({ type: 'cancel', nonce, graceMs: CANCEL_GRACE_MS });
    overdue = setTimeout(() => {
      log.loseRest();
      deps.onOverdue();
      settle(CANCELLED, true);
    }, CANCEL_GRACE_MS + FORCE_MS);
  };
  signal.addEventListener('abort', cancel, { once: true });

  return {
    nonce,
    ended: promise,
    start() {
      if (isSettled) return;
      hasStarted = true;
      writer.send({
        type: 'run',
        nonce,
        program: program.id,
        bytes: payload.length,
        maxOutputBytes,
        maxLogBytes,
        ...(request.memoryBytes === undefined ? {} : { memoryBytes: request.memoryBytes }),
        ...(request.isolateProcess ? { isolateProcess: true } : {}),
      });
      sendParts(writer, nonce, payload);
    },
    handle(header, payload) {
      // Nobody but a guesser of nonces gets here.
      if (!hasStarted) throw new ProtocolError('a run is spoken of before it was sent');
      if (hasFailed) throw new ProtocolError('a run is spoken of after it has failed');
      if ('fetch' in header) {
        fetches.handle(header, payload);
        return;
      }
      switch (header.type) {
        case 'waiting':
        case 'started':
          takeWait(header.type === 'waiting');
          break;
        case 'log':
          log.take(header.level, payload, header.truncated ?? false);
          break;
        case 'result':
          settle(parseOutput(payload, maxOutputBytes), header.slotReplaced);
          break;
        case 'failed':
          void fail(header, parseFailure(payload));
          break;
        default:
          header satisfies never;
      }
    },
    abandon: () => fetches.end(),
    settle,
    reject(error) {
      if (isSettled) return;
      log.loseRest();
      close(false);
      reject(error);
    },
  };
}
