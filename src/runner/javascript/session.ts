import type { Frame } from '../../core/sandbox/frames.ts';
import type { RunnerHeader, WorkerHeader } from '../../core/sandbox/protocol.ts';
import type { SendFrame } from './frame-writer.ts';
import { toBuffer } from './bytes.ts';
import { LOG_LEVELS, MAX_CHUNK_BYTES, MAX_LOG_ENTRY_BYTES } from './limits.ts';
import type { Failure, FetchAnswer, FetchQuestion, RunOutcome } from './messages.ts';
import { createAssembly, type Assembly } from './assembly.ts';
import { CANCELLED, type RunTask, type Slots, type StoredProgram } from './slots.ts';

type ProgramHeader = Extract<WorkerHeader, { readonly type: 'program' }>;
type RunHeader = Extract<WorkerHeader, { readonly type: 'run' }>;
type AnswerHeader = Extract<WorkerHeader, { readonly fetch: number }>;

const encoder = new TextEncoder();
const toPayload = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value));

/** What the worker says, carried out. It is trusted. */
export function createSession(send: SendFrame, slots: Slots): { receive(frame: Frame): void } {
  const programs = new Map<string, StoredProgram>();
  const assemblies = new Map<string, Assembly>();
  /** Runs between `run` and their end. */
  const runs = new Map<string, number>();
  let lastRun = 0;

  const assemble = (id: string, bytes: number, onWhole: (whole: ArrayBuffer) => void): void => {
    const assembly = createAssembly(bytes, (whole) => {
      assemblies.delete(id);
      onWhole(toBuffer(whole));
    });
    assemblies.set(id, assembly);
    assembly.push(new Uint8Array(0));
  };
  const failProgram = (program: string, { failure, detail }: Failure): void =>
    send({ type: 'program_failed', program, failure }, toPayload(detail));

  const load = ({ program: id, entry, language, bytes }: ProgramHeader): void => {
    assemble(id, bytes, (source) => {
      if (language !== 'javascript') {
        failProgram(id, {
          failure: 'syntax_error',
          detail: { name: 'Error', message: 'this runner runs JavaScript' },
        });
        return;
      }
      const program: StoredProgram = { id, entry, source, codeCache: undefined };
      const onLoaded = (failed: Failure | undefined): void => {
        if (failed === undefined) programs.set(id, program);
        if (failed === undefined) send({ type: 'program_ready', program: id });
        else failProgram(id, failed);
      };
      slots.submit({ type: 'load', program, onLoaded });
    });
  };
  const run = (header: RunHeader): void => {
    const { nonce } = header;
    const id = ++lastRun;
    runs.set(nonce, id);
    assemble(nonce, header.bytes, (payload) => {
      const program = programs.get(header.program);
      if (program === undefined) {
        end(nonce, UNKNOWN_PROGRAM, false);
        return;
      }
      slots.submit(toTask({ header, run: id, program, payload, send, end }));
    });
  };
  const end: EndRun = (nonce, outcome, isSlotReplaced) => {
    runs.delete(nonce);
    const replaced = isSlotReplaced ? ({ slotReplaced: true } as const) : {};
    if (outcome.type === 'result')
      send({ type: 'result', nonce, ...replaced }, new Uint8Array(outcome.output));
    else send({ type: 'failed', nonce, failure: outcome.failure, ...replaced }, toPayload(outcome.detail));
  };
  const cancel = (nonce: string, graceMs: number): void => {
    const id = runs.get(nonce);
    if (id === undefined) return;
    if (assemblies.delete(nonce)) end(nonce, CANCELLED, false);
    else slots.cancel(id, graceMs);
  };

  const answer = (header: AnswerHeader, payload: Uint8Array): void => {
    const id = runs.get(header.nonce);
    if (id !== undefined) slots.answer(toAnswer(header, id, payload));
  };

  return {
    receive({ header: raw, payload }) {
      const header = raw as WorkerHeader;
      switch (header.type) {
        case 'ping':
          send({ type: 'pong', ping: header.ping });
          break;
        case 'program':
          load(header);
          break;
        case 'run':
          run(header);
          break;
        case 'part':
          assemblies.get(header.of)?.push(payload);
          break;
        case 'file':
          break; // a bundle imports from nowhere
        case 'cancel':
          cancel(header.nonce, header.graceMs);
          break;
        case 'fetch_head':
        case 'fetch_data':
        case 'fetch_end':
        case 'fetch_failed':
        case 'fetch_credit':
          answer(header, payload);
          break;
        default:
          header satisfies never;
      }
    },
  };
}

type EndRun = (nonce: string, outcome: RunOutcome, isSlotReplaced: boolean) => void;

const UNKNOWN_PROGRAM: RunOutcome = {
  type: 'failed',
  failure: 'code_error',
  detail: { name: 'Error', message: 'the program of this run was not sent' },
};

function toTask(parts: {
  readonly header: RunHeader;
  readonly run: number;
  readonly program: StoredProgram;
  readonly payload: ArrayBuffer;
  readonly send: SendFrame;
  readonly end: EndRun;
}): RunTask {
  const { header, run, program, payload, send, end } = parts;
  const { nonce, maxOutputBytes, maxLogBytes, memoryBytes } = header;
  return {
    type: 'run',
    run,
    program,
    payload,
    maxOutputBytes,
    maxLogBytes,
    memoryBytes,
    onLog: (level, text, isTruncated) => {
      const known = LOG_LEVELS.includes(level) ? level : 'info';
      const truncated = isTruncated ? ({ truncated: true } as const) : {};
      send({ type: 'log', nonce, level: known, ...truncated }, text.subarray(0, MAX_LOG_ENTRY_BYTES));
    },
    onFetch: (question) => send(...toQuestion(question, nonce)),
    onWaiting: () => send({ type: 'waiting', nonce }),
    onStarted: () => send({ type: 'started', nonce }),
    onEnd: (outcome, isSlotReplaced) => end(nonce, outcome, isSlotReplaced),
  };
}

function toQuestion(question: FetchQuestion, nonce: string): [RunnerHeader, Uint8Array?] {
  const { fetch } = question;
  switch (question.type) {
    case 'fetch': {
      const { target, method, headers, hasBody, redirect } = question;
      return [{ type: 'fetch', nonce, fetch, target, method, headers, hasBody, redirect }];
    }
    case 'fetch_data':
      return [
        { type: 'fetch_data', nonce, fetch },
        new Uint8Array(question.bytes).subarray(0, MAX_CHUNK_BYTES),
      ];
    case 'fetch_credit':
      return [{ type: 'fetch_credit', nonce, fetch, bytes: question.bytes }];
    case 'fetch_end':
    case 'fetch_abort':
      return [{ type: question.type, nonce, fetch }];
    default:
      throw new TypeError('an unknown message of a slot');
  }
}

function toAnswer(header: AnswerHeader, run: number, payload: Uint8Array): FetchAnswer {
  const { nonce: _, ...answer } = header;
  return answer.type === 'fetch_data' ? { ...answer, run, bytes: toBuffer(payload) } : { ...answer, run };
}
