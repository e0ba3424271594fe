import { duplexPair } from 'node:stream';
import { createFrameDecoder, encodeFrame } from '../../core/sandbox/frames.ts';
import {
  workerHeaderSchema,
  type RunnerHeader,
  type RunPayload,
  type WorkerHeader,
} from '../../core/sandbox/protocol.ts';
import type { Sandbox, SandboxExit, SandboxLimits } from './driver.ts';
import type { Program, RunRequest } from './types.ts';

type Of<T extends WorkerHeader['type']> = Extract<WorkerHeader, { readonly type: T }>;

export interface FakeRunner {
  send(header: RunnerHeader, payload?: Uint8Array | string): void;
  /** Bytes as they are, whatever they mean. */
  raw(bytes: Uint8Array): void;
  /** Ends the stream, as a process does when it is gone. */
  hangUp(): void;
}

export interface FakeRun {
  readonly nonce: string;
  readonly header: Of<'run'>;
  readonly payload: RunPayload;
  result(output: unknown): void;
  log(text: string): void;
}

/** What the runner does; by default it is ready with two slots, takes every program and returns the input. */
export interface RunnerScript {
  readonly ready?: Partial<Extract<RunnerHeader, { readonly type: 'ready' }>> | false;
  readonly onProgram?: (program: Of<'program'>, source: Uint8Array, runner: FakeRunner) => void;
  readonly onRun?: (run: FakeRun, runner: FakeRunner) => void;
  readonly onCancel?: (header: Of<'cancel'>, runner: FakeRunner) => void;
  readonly onFetchFrame?: (header: WorkerHeader, payload: Uint8Array, runner: FakeRunner) => void;
  /** The runner takes nothing from its channel. */
  readonly isDeaf?: boolean;
}

export interface FakeSandbox extends Sandbox {
  readonly runner: FakeRunner;
  readonly received: readonly WorkerHeader[];
  readonly shared: readonly string[];
  readonly limits: readonly SandboxLimits[];
  isKilled(): boolean;
  isHurried(): boolean;
  /** The runner reads nothing any more. */
  deafen(): void;
  exit(exit: SandboxExit): void;
  memory: number | undefined;
  isOutOfMemory: boolean;
}

const decoder = new TextDecoder();
let count = 0;

/** A sandbox within this process: no isolation, but the same frames. */
export function createFakeSandbox(script: RunnerScript = {}): FakeSandbox {
  const [channel, inside] = duplexPair();
  const exited = Promise.withResolvers<SandboxExit>();
  const received: WorkerHeader[] = [];
  const shared: string[] = [];
  const limits: SandboxLimits[] = [];
  let killed = false;
  let hurried = false;
  const runner: FakeRunner = {
    send: (header, payload) =>
      void inside.write(
        encodeFrame(header, typeof payload === 'string' ? new TextEncoder().encode(payload) : payload),
      ),
    raw: (bytes) => void inside.write(bytes),
    hangUp: () => void inside.end(),
  };
  const exit = (how: SandboxExit): void => {
    exited.resolve(how);
    inside.destroy();
    channel.destroy();
  };

  inside.on('error', () => undefined);
  if (script.isDeaf !== true) inside.on('data', createInterpreter(script, runner, received));
  if (script.ready !== false) {
    runner.send({
      type: 'ready',
      protocol: 1,
      runtime: 'fake',
      slots: 2,
      kernel: 'fake kernel',
      ...script.ready,
    });
  }
  return {
    id: `fake-${++count}`,
    channel,
    exited: exited.promise,
    runner,
    received,
    shared,
    limits,
    memory: undefined,
    isOutOfMemory: false,
    isKilled: () => killed,
    isHurried: () => hurried,
    hurry: () => void (hurried = true),
    deafen: () => void inside.pause(),
    exit,
    kill() {
      killed = true;
      exit({ reason: this.isOutOfMemory ? 'out_of_memory' : 'killed', detail: 'killed' });
    },
    setLimits: async (next) => void limits.push(next),
    async share(name) {
      shared.push(name);
      return `/packages/${name}`;
    },
    async memoryBytes() {
      return this.memory;
    },
    async ranOutOfMemory() {
      return this.isOutOfMemory;
    },
  };
}

function createInterpreter(
  script: RunnerScript,
  runner: FakeRunner,
  received: WorkerHeader[],
): (chunk: Buffer) => void {
  const frames = createFrameDecoder();
  const awaited = new Map<
    string,
    { header: Of<'program'> | Of<'run'>; parts: Uint8Array[]; missing: number }
  >();

  const complete = (header: Of<'program'> | Of<'run'>, bytes: Uint8Array): void => {
    if (header.type === 'program') {
      if (script.onProgram !== undefined) script.onProgram(header, bytes, runner);
      else runner.send({ type: 'program_ready', program: header.program });
      return;
    }
    const { nonce } = header;
    const run: FakeRun = {
      nonce,
      header,
      payload: JSON.parse(decoder.decode(bytes)) as RunPayload, // the worker made it
      result: (output) => runner.send({ type: 'result', nonce }, JSON.stringify(output)),
      log: (text) => runner.send({ type: 'log', nonce, level: 'info' }, text),
    };
    if (script.onRun !== undefined) script.onRun(run, runner);
    else run.result(run.payload.input);
  };
  const onFrame = (header: WorkerHeader, payload: Uint8Array): void => {
    received.push(header);
    switch (header.type) {
      case 'program':
      case 'run': {
        const id = header.type === 'run' ? header.nonce : header.program;
        awaited.set(id, { header, parts: [], missing: header.bytes });
        break;
      }
      case 'part': {
        const whole = awaited.get(header.of);
        if (whole === undefined) throw new Error(`a part of ${header.of}, which was not announced`);
        whole.parts.push(payload);
        whole.missing -= payload.length;
        if (whole.missing > 0) return;
        awaited.delete(header.of);
        complete(whole.header, Buffer.concat(whole.parts));
        break;
      }
      case 'cancel':
        if (script.onCancel !== undefined) script.onCancel(header, runner);
        else sendFailed(runner, header.nonce, 'cancelled');
        break;
      case 'fetch_head':
      case 'fetch_data':
      case 'fetch_end':
      case 'fetch_failed':
      case 'fetch_credit':
        script.onFetchFrame?.(header, payload, runner);
        break;
      case 'file':
      case 'ping':
        throw new Error(`a session sends no ${header.type}`);
      default:
        header satisfies never;
    }
  };
  return (chunk) => {
    for (const { header, payload } of frames.push(chunk)) onFrame(workerHeaderSchema.parse(header), payload);
  };
}

export const sendFailed = (
  runner: FakeRunner,
  nonce: string,
  failure: 'cancelled' | 'code_error' | 'out_of_memory',
  slotReplaced?: true,
): void =>
  runner.send(
    { type: 'failed', nonce, failure, ...(slotReplaced ? { slotReplaced } : {}) },
    JSON.stringify({ name: 'Error', message: failure }),
  );

export const fakeProgram = (id = 'p1', packages?: Program['packages']): Program => ({
  id,
  runtime: 'javascript',
  entry: 'steps/a.js',
  source: new TextEncoder().encode(`// ${id}`),
  ...(packages === undefined ? {} : { packages }),
});

/** A request that returns `input`, as far as the script does. */
export const fakeRequest = (
  overrides: Partial<RunRequest> & { readonly input?: unknown } = {},
): RunRequest => {
  const { input = null, ...others } = overrides;
  return {
    program: fakeProgram(),
    payload: {
      input,
      context: {
        execution: {},
        workflow: {},
        step: { id: 'a', attempt: 1, item: null },
        config: {},
        secrets: {},
        idempotencyKey: 'k',
      },
    },
    maxOutputBytes: 1_048_576,
    maxLogBytes: 1_048_576,
    isolateProcess: false,
    signal: new AbortController().signal,
    onLog: () => undefined,
    fetch: () => Promise.reject(new Error('no fetch in this test')),
    ...others,
  };
};
