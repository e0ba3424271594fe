import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { appError, coerceError, errorCodeOf } from './errors/app-error.ts';

/** What was acquired, to be given back last-in-first-out; every one is tried. */
export interface Closers {
  add(close: () => Promise<void> | void): void;
  /** @throws AggregateError when several fail */
  closeAll(): Promise<void>;
}

export function createClosers(): Closers {
  const closers: (() => Promise<void> | void)[] = [];
  return {
    add: (close) => void closers.push(close),
    async closeAll() {
      const errors: Error[] = [];
      for (const close of closers.splice(0).reverse()) {
        try {
          await close();
        } catch (raw) {
          errors.push(coerceError(raw));
        }
      }
      if (errors.length > 0) throw new AggregateError(errors, 'stopping failed in places');
    },
  };
}

/**
 * Builds something out of parts that have to be closed; when that fails half-way, the parts made so far are closed.
 *
 * @param build adds a closer for each part as it is made
 */
export async function composeOrClose<T>(
  build: (closers: Closers) => Promise<T>,
  onCloseError: (error: Error) => void,
): Promise<T> {
  const closers = createClosers();
  try {
    return await build(closers);
  } catch (error) {
    await closers.closeAll().catch((raw: unknown) => onCloseError(coerceError(raw)));
    throw error;
  }
}

/**
 * Listens, and says which port it is.
 *
 * @param key the configuration key that sets the port, for the message
 * @throws AppError `port_in_use`
 */
export function listen(server: Server, port: number, host: string, key: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        errorCodeOf(error) === 'EADDRINUSE'
          ? appError('port_in_use', { args: [port, key], cause: error })
          : error,
      );
    });
    server.listen(port, host, () => {
      resolve((server.address() as AddressInfo).port); // a TCP server's address
    });
  });
}

/** Ends an HTTP server: no new connections, idle ones closed, requests under way finished within `graceMs`. */
export function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** Exit status of a wrong configuration: EX_CONFIG of sysexits.h. */
export const EXIT_CONFIG = 78;
/** Exit status of a process that wants to be started again: EX_TEMPFAIL of sysexits.h. */
export const EXIT_AGAIN = 75;

export interface Stoppable {
  stop(): Promise<void>;
}

/**
 * Starts something, and stops it on SIGTERM or SIGINT, also while it still starts.
 *
 * @param start gives up when the signal is aborted; its second argument stops and exits like SIGTERM, with another status
 * @throws what `start` throws, unless it was told to give up
 */
export async function runUntilSignal(
  start: (signal: AbortSignal, end: (exitCode: number) => void) => Promise<Stoppable>,
  limitMs: number,
  onError: (error: Error) => void,
): Promise<void> {
  const giveUp = new AbortController();
  const stop = async (): Promise<void> => {
    giveUp.abort();
    const started = await starting.catch(() => undefined); // what could not start has closed itself
    await started?.stop();
  };
  const end = stopOnSignals({ stop }, limitMs, onError);
  const starting = start(giveUp.signal, (exitCode) => end('a request of its own', exitCode));
  try {
    await starting;
  } catch (error) {
    if (!giveUp.signal.aborted) throw error;
  }
}

/** npm passes on the Ctrl-C that the terminal has sent to us already: what follows this soon is the same one. */
const SAME_SIGNAL_MS = 500;

/**
 * Stops `process` on SIGTERM and SIGINT, and exits; a second signal exits at once.
 *
 * @param limitMs after this long it exits whatever still hangs
 * @returns does the same for another reason; nothing while it stops already
 */
export function stopOnSignals(
  target: Stoppable,
  limitMs: number,
  onError: (error: Error) => void,
): (reason: string, exitCode: number) => void {
  let since: number | undefined;
  const end = (reason: string, exitCode: number): void => {
    if (since !== undefined) return;
    since = performance.now();
    setTimeout(() => {
      onError(new Error(`stopping after ${reason} took longer than ${limitMs} ms`));
      process.exit(1);
    }, limitMs).unref();
    target.stop().then(
      () => process.exit(exitCode),
      (raw: unknown) => {
        onError(coerceError(raw));
        process.exit(1);
      },
    );
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (since !== undefined && performance.now() - since > SAME_SIGNAL_MS) process.exit(1);
    end(signal, 0);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return end;
}
