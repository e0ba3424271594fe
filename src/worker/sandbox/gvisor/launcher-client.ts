import { spawn, type ChildProcess } from 'node:child_process';
import { extname } from 'node:path';
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../../core/logger.ts';
import type { SandboxExit } from '../driver.ts';
import type { FromLauncher, LauncherSettings, RunscChoice, ToLauncher } from './launcher-messages.ts';

type Call = Extract<ToLauncher, { readonly call: number }>;
type Answer = Extract<FromLauncher, { readonly type: 'started' | 'image_started' | 'done' }>;
/** A call without its number. */
export type LauncherCall = Call extends infer C ? (C extends Call ? Omit<C, 'call'> : never) : never;

/** What a call brought, besides its answer: a start a channel, an image what its program writes to, both an end. */
export interface LauncherAnswer {
  readonly answer: Answer;
  readonly channel?: Duplex | undefined;
  readonly outputs?: Outputs | undefined;
  readonly exited?: Promise<SandboxExit>;
}

interface Outputs {
  readonly stdout?: Socket;
  readonly stderr?: Socket;
}

export class LauncherRefusedError extends Error {
  override readonly name = 'LauncherRefusedError';
  readonly remedy: string;

  constructor(reason: string, remedy: string) {
    super(reason);
    this.remedy = remedy;
  }
}

const OPEN_TIMEOUT_MS = 60_000;

/** The launcher, seen from the worker. One for each process; it is gone when `ended` resolves. */
export class LauncherClient {
  readonly ended: Promise<void>;
  readonly pid: number | undefined;
  readonly #child: ChildProcess;
  readonly #logger: Logger;
  readonly #calls = new Map<number, PromiseWithResolvers<LauncherAnswer>>();
  readonly #opened = Promise.withResolvers<RunscChoice>();
  /** Of starts whose other socket is under way. */
  readonly #stdins = new Map<number, Socket>();
  /** Of images whose start is under way. */
  readonly #outputs = new Map<number, Outputs>();
  readonly #exits = new Map<string, PromiseWithResolvers<SandboxExit>>();
  #failure: Error | undefined;
  #count = 0;

  constructor(path: string, logger: Logger) {
    this.#logger = logger;
    this.#child = startLauncher(path);
    this.pid = this.#child.pid;
    this.#opened.promise.catch(() => undefined);
    this.#child.stdin?.on('error', () => undefined);
    this.#child.on('message', (message, handle) => {
      this.#receive(message as FromLauncher, handle instanceof Socket ? handle : undefined);
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => this.#fail(error, resolve));
      this.#child.once('exit', (code, signal) =>
        this.#fail(new Error(`the launcher ended (${signal ?? `exit code ${code}`})`), resolve),
      );
    });
  }

  /** @throws LauncherRefusedError */
  async open(settings: LauncherSettings): Promise<RunscChoice> {
    this.#send({ type: 'open', ...settings });
    const timer = setTimeout(
      () => this.#opened.reject(new Error(`the launcher was not ready within ${OPEN_TIMEOUT_MS} ms`)),
      OPEN_TIMEOUT_MS,
    );
    try {
      return await this.#opened.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  async call(call: LauncherCall): Promise<LauncherAnswer> {
    if (this.#failure !== undefined) throw this.#failure;
    const pending = Promise.withResolvers<LauncherAnswer>();
    const number = ++this.#count;
    this.#calls.set(number, pending);
    this.#send({ ...call, call: number });
    return pending.promise;
  }

  /** Tells of sandboxes that nobody can tell of any more, because the launcher has ended. */
  giveUp(): void {
    const detail = this.#failure?.message ?? 'the launcher ended';
    for (const exit of this.#exits.values()) exit.resolve({ reason: 'exited', detail });
    this.#exits.clear();
  }

  hurry(sandbox: string): void {
    this.#send({ type: 'hurry', sandbox });
  }

  kill(sandbox: string): void {
    this.#send({ type: 'kill', sandbox });
  }

  /** Ends all sandboxes and the launcher, and waits for it. */
  async close(): Promise<void> {
    this.#send({ type: 'close' });
    await this.ended;
  }

  #send(message: ToLauncher): void {
    // A channel that is closed is told by 'exit'.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #receive(message: FromLauncher, socket: Socket | undefined): void {
    switch (message.type) {
      case 'ready':
        if (message.swept.length > 0) {
          this.#logger.warn({ launchers: message.swept }, 'removed what killed launchers had left');
        }
        this.#opened.resolve(message.choice);
        return;
      case 'refused':
        this.#opened.reject(new LauncherRefusedError(message.reason, message.remedy));
        return;
      case 'stdin':
        if (socket !== undefined) this.#stdins.set(message.call, socket);
        return;
      case 'started': {
        const channel = joinSockets(this.#stdins.get(message.call), socket);
        this.#stdins.delete(message.call);
        const exited = this.#exitOf(message.sandbox);
        this.#settle(message.call)?.resolve({ answer: message, channel, exited });
        return;
      }
      case 'output':
        this.#outputs.set(message.call, { ...this.#outputs.get(message.call), [message.stream]: socket });
        return;
      case 'image_started': {
        const outputs = this.#outputs.get(message.call);
        this.#outputs.delete(message.call);
        const exited = this.#exitOf(message.sandbox);
        this.#settle(message.call)?.resolve({ answer: message, outputs, exited });
        return;
      }
      case 'done':
        this.#settle(message.call)?.resolve({ answer: message });
        return;
      case 'failed':
        this.#settle(message.call)?.reject(new Error(message.message));
        return;
      case 'exited':
        this.#exits.get(message.sandbox)?.resolve(message.exit);
        this.#exits.delete(message.sandbox);
        return;
      case 'log':
        this.#logger[message.level](message.fields, message.message);
        return;
      default:
        throw new Error(`the launcher said something unknown: ${JSON.stringify(message satisfies never)}`);
    }
  }

  #exitOf(sandbox: string): Promise<SandboxExit> {
    const exit = Promise.withResolvers<SandboxExit>();
    this.#exits.set(sandbox, exit);
    return exit.promise;
  }

  #settle(call: number): PromiseWithResolvers<LauncherAnswer> | undefined {
    const pending = this.#calls.get(call);
    this.#calls.delete(call);
    return pending;
  }

  #fail(error: Error, resolve: () => void): void {
    this.#opened.reject(error);
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
    this.#failure = error;
    resolve();
  }
}

function joinSockets(writable: Socket | undefined, readable: Socket | undefined): Duplex | undefined {
  if (writable === undefined || readable === undefined) return undefined;
  // The sandbox writes nothing into its stdin; but only who reads learns that the other end is closed.
  writable.resume();
  return Duplex.from({ readable, writable });
}

/**
 * In a session of its own (`detached`), so that what kills the worker's process group does not kill it; of the
 * environment it gets only what finds programs.
 */
function startLauncher(path: string): ChildProcess {
  const file = fileURLToPath(new URL(`./launcher${extname(import.meta.url)}`, import.meta.url));
  return spawn(
    process.execPath,
    ['--disallow-code-generation-from-strings', '--disable-proto=delete', file],
    {
      detached: true,
      // The pipe tells the launcher of this process's end, whatever ends it.
      stdio: ['pipe', 'ignore', 'inherit', 'ipc'],
      env: { PATH: path },
      serialization: 'json',
    },
  );
}
