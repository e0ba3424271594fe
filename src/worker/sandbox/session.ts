import { setTimeout as delay } from 'node:timers/promises';
import { coerceError } from '../../core/errors/app-error.ts';
import { ProtocolError, type Frame } from '../../core/sandbox/frames.ts';
import { PROTOCOL_VERSION, runnerHeaderSchema, type RunnerHeader } from '../../core/sandbox/protocol.ts';
import type { Sandbox, SandboxExit } from './driver.ts';
import { createPrograms } from './session/programs.ts';
import { encodePayload, parseFailure, CANCELLED } from './session/payloads.ts';
import { readFrames } from './session/reader.ts';
import { createActiveRun, type ActiveRun, type RunHeader } from './session/run.ts';
import { createFrameWriter } from './session/writer.ts';
import { SandboxLostError, type RunEnd, type RunRequest } from './types.ts';

const READY_TIMEOUT_MS = 30_000;
const PROGRAM_TIMEOUT_MS = 30_000;
const STALL_MS = 10_000;
/** How long after the end of its stream a sandbox may take to say how it ended. */
const EXIT_AFTER_END_MS = 2000;
/** How long a driver may take to say that all of it is gone. */
const EXIT_AFTER_KILL_MS = 5000;

/**
 * Why a session is over.
 * - `exit`: the sandbox ended by itself
 * - `breach`: the runner broke the protocol
 * - `unresponsive`: it did not read, answer or cancel in time
 * - `out_of_memory`: the kernel killed a part of it
 * - `closed`: {@link Session.close} was called
 */
export type SessionLossCause = 'exit' | 'breach' | 'unresponsive' | 'out_of_memory' | 'closed';
export interface SessionLoss {
  readonly cause: SessionLossCause;
  readonly exit: SandboxExit;
}

export interface SessionOptions {
  readonly readyTimeoutMs?: number;
  readonly programTimeoutMs?: number;
  /** How long a runner may leave unread what was sent to it. */
  readonly stallMs?: number;
  /** Told at once when the sandbox is of no use any more, before it is known how it ended. */
  readonly onEnding?: () => void;
  /** Told of errors of the platform's own that the author's code sees only as `internal_error`. */
  readonly onError?: (error: Error) => void;
}

/** A sandbox whose runner is ready. */
export interface Session {
  readonly sandbox: Sandbox;
  /** Runs at a time. */
  readonly slots: number;
  /** What the runner says of itself: evidence, not proof. */
  readonly runtime: string;
  readonly kernel: string;
  /** Never rejects. */
  readonly lost: Promise<SessionLoss>;
  /** How many times a slot was replaced, or may not have become free. */
  slotsLost(): number;
  /**
   * Runs a program; the program is sent first where it is not there yet.
   *
   * @throws SandboxLostError; StepError `invalid_input` for what cannot be handed over, or what `Sandbox.share` throws
   */
  run(request: RunRequest): Promise<RunEnd>;
  /** Ends the sandbox at once. Idempotent. */
  close(): void;
}

type Ready = Extract<RunnerHeader, { readonly type: 'ready' }>;
/** What is about no run. */
type ProgramHeader = Exclude<RunnerHeader, Ready | { readonly nonce: string }>;

/**
 * Speaks with the runner of a sandbox that was just started. From now on the sandbox is the session's: it is killed at
 * the first breach of the protocol, and when it is not ready in time.
 *
 * @throws SandboxLostError when it does not become ready
 */
export async function openSession(sandbox: Sandbox, options: SessionOptions = {}): Promise<Session> {
  const { readyTimeoutMs = READY_TIMEOUT_MS, stallMs = STALL_MS, onError = () => undefined } = options;
  const runs = new Map<string, ActiveRun>();
  const ready = Promise.withResolvers<Ready>();
  const over = Promise.withResolvers<SessionLoss>();
  let isReady = false;
  let isOver = false;
  let slotsLost = 0;

  const lose = (cause: SessionLossCause, reason: string): void => {
    if (isOver) return;
    isOver = true;
    options.onEnding?.();
    clearTimeout(readyTimer);
    writer.close();
    const wasAlone = runs.size === 1;
    for (const run of runs.values()) run.abandon();
    void exitOf(sandbox, cause, reason).then((exit) => {
      const error = new SandboxLostError(exit, wasAlone);
      ready.reject(error);
      programs.fail(error);
      for (const run of runs.values()) run.reject(error);
      over.resolve({ cause, exit });
    });
  };
  const unresponsive = (reason: string): void => lose('unresponsive', reason);
  const loseForMemory = async (): Promise<boolean> => {
    if ((await sandbox.ranOutOfMemory?.()) !== true) return false;
    lose('out_of_memory', 'a process of it was killed at its memory limit');
    return true;
  };
  const writer = createFrameWriter(sandbox.channel, { stallMs, onStuck: unresponsive });
  const programs = createPrograms({
    sandbox,
    writer,
    timeoutMs: options.programTimeoutMs ?? PROGRAM_TIMEOUT_MS,
    onOverdue: () => unresponsive('the runner did not take a program in time'),
  });
  const readyTimer = setTimeout(
    () => unresponsive(`the runner was not ready within ${readyTimeoutMs} ms`),
    readyTimeoutMs,
  );

  const onFrame = ({ header: raw, payload }: Frame): void => {
    if (isOver) return;
    const header = parseHeader(raw);
    if (header.type === 'ready') {
      if (isReady) throw new ProtocolError('the runner is ready twice');
      if (header.protocol !== PROTOCOL_VERSION) {
        throw new ProtocolError(`the runner speaks version ${header.protocol}, not ${PROTOCOL_VERSION}`);
      }
      isReady = true;
      clearTimeout(readyTimer);
      ready.resolve(header);
    } else if (!isReady) {
      throw new ProtocolError(`the runner sends "${header.type}" before it is ready`);
    } else if ('nonce' in header) {
      runOf(runs, header).handle(header, payload);
    } else {
      onProgramFrame(header, payload);
    }
  };
  const onProgramFrame = (header: ProgramHeader, payload: Uint8Array): void => {
    switch (header.type) {
      case 'pong':
        throw new ProtocolError('nobody asked for a pong');
      case 'program_ready':
        programs.judged(header.program, undefined);
        break;
      case 'program_failed':
        programs.judged(header.program, {
          type: 'failed',
          failure: header.failure,
          detail: parseFailure(payload),
        });
        break;
      default:
        header satisfies never;
    }
  };

  sandbox.channel.on('error', () => undefined); // the reader sees it too
  void sandbox.exited.then(() => lose('exit', ''));
  readFrames(sandbox.channel, onFrame).then(
    () => lose('exit', 'its stream ended'),
    (raw: unknown) => {
      const error = coerceError(raw);
      if (error instanceof ProtocolError) lose('breach', error.message);
      else lose('exit', error.message);
    },
  );

  const { slots, runtime, kernel } = await ready.promise;

  return {
    sandbox,
    slots,
    runtime,
    kernel,
    lost: over.promise,
    slotsLost: () => slotsLost,
    async run(request) {
      const payload = encodePayload(request.payload);
      if (isOver) throw new SandboxLostError((await over.promise).exit, false);
      if (request.signal.aborted) return CANCELLED;
      const run = createActiveRun(
        {
          writer,
          onError,
          onSettled(nonce, isSlotLost) {
            runs.delete(nonce);
            if (isSlotLost) slotsLost++;
          },
          onOverdue: () => unresponsive('the runner did not end a cancelled run in time'),
          onProcessEnded: loseForMemory,
        },
        request,
        payload,
      );
      runs.set(run.nonce, run);
      const verdict = programs.prepare(request.program);
      if (verdict === undefined) run.start();
      else if (verdict instanceof Promise) void startAfter(verdict, run);
      else run.settle(verdict);
      return run.ended;
    },
    close: () => lose('closed', 'no longer wanted'),
  };
}

function parseHeader(raw: unknown): RunnerHeader {
  const header = runnerHeaderSchema.safeParse(raw);
  if (!header.success) throw new ProtocolError('a header fits no schema', { cause: header.error });
  return header.data;
}

function runOf(runs: ReadonlyMap<string, ActiveRun>, header: RunHeader): ActiveRun {
  const run = runs.get(header.nonce);
  if (run === undefined) throw new ProtocolError(`"${header.type}" for a run that is not under way`);
  return run;
}

async function startAfter(verdict: Promise<RunEnd | undefined>, run: ActiveRun): Promise<void> {
  try {
    const failure = await verdict;
    if (failure === undefined) run.start();
    else run.settle(failure);
  } catch (raw) {
    run.reject(coerceError(raw));
  }
}

/**
 * Ends the sandbox and tells how it ended. One whose stream has ended is about to say so by itself; killed at once, it
 * might not be able to tell that it ran out of memory.
 */
async function exitOf(sandbox: Sandbox, cause: SessionLossCause, reason: string): Promise<SandboxExit> {
  if (cause === 'exit') {
    const exit = await within(EXIT_AFTER_END_MS, sandbox.exited);
    if (exit !== undefined) return exit;
  }
  sandbox.kill();
  const exit = await within(EXIT_AFTER_KILL_MS, sandbox.exited);
  return {
    reason: exit?.reason ?? 'killed',
    detail: [reason, exit?.detail ?? 'and it does not end'].filter((part) => part !== '').join('; '),
  };
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, delay(ms, undefined, { signal: timer.signal, ref: false })]);
  } finally {
    timer.abort();
  }
}
