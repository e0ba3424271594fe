import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createFrameDecoder, encodeFrame, type Frame } from '../../core/sandbox/frames.ts';
import {
  BODY_WINDOW_BYTES,
  MAX_CHUNK_BYTES,
  runnerHeaderSchema,
  type FailureDetail,
  type LogLevel,
  type RunFailure,
  type RunnerHeader,
  type WorkerHeader,
} from '../../core/sandbox/protocol.ts';
import { findDeno } from '../../worker/sandbox/rootfs/deno.ts';
import { bundleJavaScriptRunner } from '../../worker/sandbox/rootfs/runner-bundle.ts';

/** What the fake broker is asked. */
export interface FakeRequest {
  readonly target: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly redirect: string;
  readonly hasBody: boolean;
  /** All of the body. */
  text(): Promise<string>;
  readonly body: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

export interface FakeResponse {
  readonly status?: number;
  readonly headers?: readonly (readonly [string, string])[];
  readonly url?: string;
  readonly redirected?: boolean;
  readonly body?: string | AsyncIterable<Uint8Array>;
}

/** A refusal of the broker. */
export class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface RunOptions {
  readonly input?: unknown;
  readonly context?: Readonly<Record<string, unknown>>;
  readonly maxOutputBytes?: number;
  readonly maxLogBytes?: number;
  readonly fetch?: (request: FakeRequest) => Promise<FakeResponse> | FakeResponse;
}

export interface LogLine {
  readonly level: LogLevel;
  readonly text: string;
  readonly truncated: boolean;
}

export type RunResult = (
  | { readonly type: 'result'; readonly output: unknown }
  | { readonly type: 'failed'; readonly failure: RunFailure; readonly detail: FailureDetail }
) & { readonly logs: readonly LogLine[]; readonly slotReplaced: boolean };

export interface RunHandle {
  readonly nonce: string;
  readonly ended: Promise<RunResult>;
  /** The code has written its first log entry. */
  readonly logged: Promise<void>;
  /** What was said of its waiting for a slot. */
  readonly waits: readonly ('waiting' | 'started')[];
  cancel(graceMs: number): void;
}

export interface TestRunner {
  readonly ready: Extract<RunnerHeader, { readonly type: 'ready' }>;
  readonly process: ChildProcess;
  /** Sends the program unless it was, and runs it. */
  run(source: string, options?: RunOptions): Promise<RunResult>;
  begin(program: string, options?: RunOptions): RunHandle;
  load(
    source: string,
    entry?: string,
  ): Promise<{
    readonly program: string;
    readonly failed?: { readonly failure: RunFailure; readonly detail: FailureDetail };
  }>;
  send(header: WorkerHeader, payload?: Uint8Array): void;
  /** The number of the next `pong`. */
  pong(): Promise<number>;
  stop(): Promise<void>;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** As drivers start it; see worker/sandbox. */
const DENO_ARGUMENTS = ['run', '--no-prompt', '--no-remote', '--cached-only', '--no-config', '--no-lock'];
/** What a program prints that Deno runs as it runs the runner. */
export async function runDeno(source: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-runner-'));
  const file = join(folder, 'program.js');
  await writeFile(file, source);
  const env = { HOME: folder, NO_COLOR: '1', CANARY: 'canary-in-the-environment' };
  try {
    return (await promisify(execFile)((await findDeno()).file, [...DENO_ARGUMENTS, file], { env })).stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Starts the bundled runner as an ordinary process. */
export async function startTestRunner(): Promise<TestRunner> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-runner-'));
  const file = join(folder, 'runner.js');
  await writeFile(file, await bundleJavaScriptRunner());
  const child = spawn((await findDeno()).file, [...DENO_ARGUMENTS, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { HOME: folder, DENO_DIR: join(folder, 'deno'), NO_COLOR: '1', CANARY: 'canary-in-the-environment' },
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  };
  return connect(child, stop);
}

async function connect(child: ChildProcess, stop: () => Promise<void>): Promise<TestRunner> {
  const { stdin, stdout } = child as ChildProcess & {
    stdin: NodeJS.WritableStream;
    stdout: NodeJS.ReadableStream;
  };
  const frames = createFrameDecoder();
  const first = Promise.withResolvers<TestRunner['ready']>();
  const programs = new Map<string, string>();
  const loads = new Map<string, (frame: Frame & { readonly header: RunnerHeader }) => void>();
  const runs = new Map<string, ReturnType<typeof createRun>>();
  const pongs: ((ping: number) => void)[] = [];
  let lastNonce = 0;
  let lastProgram = 0;

  const send = (header: WorkerHeader, payload?: Uint8Array): void =>
    void stdin.write(encodeFrame(header, payload));
  const sendParts = (of: string, bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; at += MAX_CHUNK_BYTES) {
      send({ type: 'part', of }, bytes.subarray(at, at + MAX_CHUNK_BYTES));
    }
  };
  const receive = (frame: Frame): void => {
    // As the worker does: what does not fit the schema is a bug of the runner.
    const header = runnerHeaderSchema.parse(frame.header);
    if (header.type === 'ready') first.resolve(header);
    else if (header.type === 'pong') pongs.shift()?.(header.ping);
    else if ('program' in header) loads.get(header.program)?.({ ...frame, header });
    else if ('nonce' in header) {
      const run = runs.get(header.nonce);
      if (run === undefined) throw new Error(`a ${header.type} for a run that is over`);
      if (run.receive(header, frame.payload)) runs.delete(header.nonce);
    }
  };
  stdout.on('data', (chunk: Uint8Array) => {
    for (const frame of frames.push(chunk)) receive(frame);
  });
  child.on('exit', (code) => first.reject(new Error(`the runner ended with ${code}`)));

  const load: TestRunner['load'] = (source, entry = 'steps/test.ts') => {
    const program = `program-${++lastProgram}`;
    programs.set(source, program);
    const bytes = encoder.encode(source);
    const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<TestRunner['load']>>>();
    loads.set(program, ({ header, payload }) => {
      if (header.type !== 'program_failed') resolve({ program });
      else {
        const detail = JSON.parse(decoder.decode(payload)) as FailureDetail;
        resolve({ program, failed: { failure: header.failure, detail } });
      }
    });
    send({ type: 'program', program, language: 'javascript', entry, bytes: bytes.length });
    sendParts(program, bytes);
    return promise;
  };
  const begin = (program: string, options: RunOptions = {}): RunHandle => {
    const nonce = String(++lastNonce).padStart(32, 'n');
    const run = createRun(nonce, send, options);
    runs.set(nonce, run);
    const payload = encoder.encode(
      JSON.stringify({
        input: options.input,
        context: {
          execution: { id: 'execution-1' },
          workflow: { name: 'test', version: 1 },
          step: { id: 'step', attempt: 1, item: null },
          config: {},
          secrets: {},
          idempotencyKey: 'execution-1.step',
          ...options.context,
        },
      }),
    );
    const { maxOutputBytes = 1_048_576, maxLogBytes = 1_048_576 } = options;
    send({ type: 'run', nonce, program, bytes: payload.length, maxOutputBytes, maxLogBytes });
    sendParts(nonce, payload);
    return {
      nonce,
      ended: run.ended,
      logged: run.logged,
      waits: run.waits,
      cancel: (graceMs) => send({ type: 'cancel', nonce, graceMs }),
    };
  };
  return {
    ready: await first.promise,
    process: child,
    send,
    stop,
    pong: () => new Promise((resolve) => void pongs.push(resolve)),
    load,
    begin,
    async run(source, options) {
      const known = programs.get(source);
      if (known !== undefined) return begin(known, options).ended;
      const { program, failed } = await load(source);
      if (failed !== undefined) throw new Error(`${failed.failure}: ${failed.detail.message}`);
      return begin(program, options).ended;
    },
  };
}

function createRun(nonce: string, send: TestRunner['send'], options: RunOptions) {
  const { promise, resolve } = Promise.withResolvers<RunResult>();
  const logged = Promise.withResolvers<void>();
  const logs: LogLine[] = [];
  const waits: ('waiting' | 'started')[] = [];
  const fetches = new Map<number, ReturnType<typeof createFetch>>();
  return {
    ended: promise,
    logged: logged.promise,
    waits,
    /** @returns whether the run is over */
    receive(header: RunHeader, payload: Uint8Array): boolean {
      const text = (): string => decoder.decode(payload);
      switch (header.type) {
        case 'waiting':
        case 'started':
          waits.push(header.type);
          return false;
        case 'log':
          logs.push({ level: header.level, text: text(), truncated: header.truncated ?? false });
          logged.resolve();
          return false;
        case 'result': {
          const slotReplaced = header.slotReplaced ?? false;
          resolve({ type: 'result', output: JSON.parse(text()), logs, slotReplaced });
          return true;
        }
        case 'failed': {
          const { failure, slotReplaced = false } = header;
          resolve({
            type: 'failed',
            failure,
            detail: JSON.parse(text()) as FailureDetail,
            logs,
            slotReplaced,
          });
          return true;
        }
        case 'fetch':
          fetches.set(header.fetch, createFetch(nonce, send, options, header));
          return false;
        case 'fetch_data':
        case 'fetch_end':
        case 'fetch_abort':
        case 'fetch_credit':
          fetches
            .get(header.fetch)
            ?.receive(header.type, payload, header.type === 'fetch_credit' ? header.bytes : 0);
          return false;
        default:
          return header satisfies never;
      }
    },
  };
}

type RunHeader = Extract<RunnerHeader, { readonly nonce: string }>;
type FetchHeader = Extract<RunnerHeader, { readonly type: 'fetch' }>;

/** The broker's side of a fetch, as strict about windows as the worker is. */
function createFetch(nonce: string, send: TestRunner['send'], options: RunOptions, header: FetchHeader) {
  const about = { nonce, fetch: header.fetch };
  const controller = new AbortController();
  const chunks: Uint8Array[] = [];
  let ended = false;
  let unasked = BODY_WINDOW_BYTES;
  let window = BODY_WINDOW_BYTES;
  let wake: (() => void) | undefined;
  const awaken = (): void => wake?.();
  const sleep = (): Promise<void> => new Promise((resolve) => (wake = resolve));

  async function* body(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        unasked += chunk.length;
        if (chunk.length > 0) send({ type: 'fetch_credit', ...about, bytes: chunk.length });
        yield chunk;
      } else if (ended) return;
      else await sleep();
    }
  }
  const answer = async (): Promise<void> => {
    if (options.fetch === undefined) throw new Refusal('egress_denied', 'no host is allowed here');
    const read = body();
    const response = await options.fetch({
      target: header.target,
      method: header.method,
      headers: Object.fromEntries(header.headers),
      redirect: header.redirect,
      hasBody: header.hasBody,
      body: read,
      text: async () => {
        const parts: Uint8Array[] = [];
        for await (const part of read) parts.push(part);
        return Buffer.concat(parts).toString();
      },
      signal: controller.signal,
    });
    const { status = 200, headers = [], url = header.target, redirected = false } = response;
    if (controller.signal.aborted) return;
    send({
      type: 'fetch_head',
      ...about,
      status,
      headers: headers.map(([name, value]) => [name, value]),
      url,
      redirected,
    });
    for await (const chunk of toChunks(response.body)) {
      for (let at = 0; at < chunk.length;) {
        if (controller.signal.aborted) return;
        if (window === 0) {
          await sleep();
          continue;
        }
        const piece = chunk.subarray(at, at + Math.min(window, MAX_CHUNK_BYTES));
        window -= piece.length;
        at += piece.length;
        send({ type: 'fetch_data', ...about }, piece);
      }
    }
    if (!controller.signal.aborted) send({ type: 'fetch_end', ...about });
  };
  void answer().catch((error: unknown) => {
    const code = error instanceof Refusal ? error.code : 'internal_error';
    if (!controller.signal.aborted)
      send({ type: 'fetch_failed', ...about, code, message: (error as Error).message });
  });
  return {
    receive(type: RunnerHeader['type'], payload: Uint8Array, credit: number): void {
      if (type === 'fetch_data') {
        unasked -= payload.length;
        if (unasked < 0 || !header.hasBody || ended) throw new Error('a body that was not asked for');
        chunks.push(payload);
      } else if (type === 'fetch_end') ended = true;
      else if (type === 'fetch_credit') window += credit;
      else if (type === 'fetch_abort') controller.abort();
      awaken();
    },
  };
}

async function* toChunks(body: FakeResponse['body'] = ''): AsyncGenerator<Uint8Array> {
  if (typeof body === 'string') yield encoder.encode(body);
  else yield* body;
}
