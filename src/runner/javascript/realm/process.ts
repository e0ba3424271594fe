import type { Log } from './console.ts';
import { hidden } from './globals.ts';
import type { Host } from './host.ts';

/** Ends the code that called `process.exit`. */
export class ExitError extends Error {
  override readonly name = 'ExitError';
}

type EventEmitterClass = new () => object;

/**
 * `process`, as far as packages ask it things: no environment, no arguments, nothing of the process that really runs.
 */
export function createProcess(host: Host, log: Log, onExit: (error: ExitError) => void): object {
  const started = host.now();
  const hrtime = (earlier?: readonly [number, number]): [number, number] => {
    const ms = host.now() - (earlier ? earlier[0] * 1e3 + earlier[1] / 1e6 : 0);
    return [Math.floor(ms / 1e3), Math.floor((ms % 1e3) * 1e6)];
  };
  const memory = { rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 };
  const exit = (code: number | string = ''): never => {
    const error = new ExitError(
      `The code called process.exit(${code}). Return a value to succeed, or throw an error to fail.`,
    );
    onExit(error);
    throw error;
  };
  const EventEmitter = host.modules.events as EventEmitterClass;
  const members = {
    title: 'millrace',
    version: `v${host.versions.node}`,
    versions: { ...host.versions },
    release: { name: 'node' },
    arch: 'x64',
    platform: 'linux',
    argv: ['node', 'step'],
    argv0: 'node',
    execArgv: [],
    execPath: '/usr/bin/node',
    env: {},
    config: {},
    features: {},
    pid: 1,
    ppid: 0,
    exitCode: undefined,
    stdin: undefined,
    stdout: createOutput(log, 'info'),
    stderr: createOutput(log, 'error'),
    cwd: () => '/',
    chdir: () => undefined,
    umask: () => 0o022,
    uptime: () => (host.now() - started) / 1e3,
    hrtime: Object.assign(hrtime, { bigint: () => BigInt(Math.floor(host.now() * 1e6)) }),
    memoryUsage: Object.assign(() => ({ ...memory }), { rss: () => 0 }),
    cpuUsage: () => ({ user: 0, system: 0 }),
    nextTick: (callback: (...values: readonly unknown[]) => void, ...values: readonly unknown[]) =>
      host.nextTick(() => callback(...values)),
    emitWarning: (warning: unknown) => log('warn', host.format(warning)),
    exit,
    abort: exit,
    getuid: () => 65_532,
    getgid: () => 65_532,
  };
  const process = Object.assign(new EventEmitter(), members);
  return Object.defineProperty(process, Symbol.toStringTag, hidden('process'));
}

/** A stream as far as loggers write to one: each call is an entry. */
const createOutput = (log: Log, level: 'info' | 'error'): object => ({
  isTTY: false,
  writable: true,
  fd: level === 'info' ? 1 : 2,
  write: (chunk: unknown, ...rest: readonly unknown[]): boolean => {
    const text = typeof chunk === 'string' ? chunk : new TextDecoder().decode(chunk as Uint8Array);
    log(level, text.replace(/\n$/, ''));
    const callback = rest.findLast((value) => typeof value === 'function');
    if (typeof callback === 'function') queueMicrotask(() => callback());
    return true;
  },
  end: () => undefined,
  on: () => undefined,
  once: () => undefined,
  off: () => undefined,
  emit: () => false,
});
