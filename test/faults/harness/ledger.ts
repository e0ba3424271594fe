import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** The service that steps call: an outside book of what really happened, by idempotency key. */
export interface Ledger {
  readonly url: string;
  readonly port: number;
  /** When (this machine's clock, ms) requests with this key came. */
  timesOf(idempotencyKey: string): readonly number[];
  /** All keys that were seen. */
  keys(): IterableIterator<string>;
  /** Every path whose beginning this is, with the keys that were seen there. */
  keysBelow(path: string): readonly { readonly path: string; readonly keys: ReadonlySet<string> }[];
  /** How long requests that come from now on, and whose path matches, wait for their answer, until the next call. */
  delay(path: RegExp | undefined, ms: number): void;
  /** Answers those that wait at a path now. */
  answer(path: RegExp): void;
  /** Requests that wait for their answer now, by path. */
  pending(path: RegExp): number;
  /** The ports at the other end of these. */
  callers(path: RegExp): readonly number[];
  close(): Promise<void>;
}

/** A request that waits for its answer. */
interface Waiting {
  readonly path: string;
  readonly port: number;
  answer(): void;
}

/** @param host where it listens */
export async function startLedger(host = '127.0.0.1'): Promise<Ledger> {
  const times = new Map<string, number[]>();
  const keysAt = new Map<string, Set<string>>();
  const pending = new Set<Waiting>();
  let slow: { readonly path: RegExp | undefined; readonly ms: number } = { path: undefined, ms: 0 };
  const server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key']);
    const seen = times.get(key);
    if (seen === undefined) times.set(key, [Date.now()]);
    else seen.push(Date.now());
    const path = request.url ?? '';
    keysAt.set(path, (keysAt.get(path) ?? new Set()).add(key));
    const answering = new AbortController();
    const entry: Waiting = { path, port: request.socket.remotePort ?? 0, answer: () => answering.abort() };
    pending.add(entry);
    // Decided with `pending`: who sees the request there may say at once that later ones are not to wait.
    const ms = slow.path?.test(entry.path) === true ? slow.ms : 0;
    response.on('close', () => pending.delete(entry));
    request.resume();
    request.on('end', () => {
      const waited = delay(ms, undefined, { ref: false, signal: answering.signal });
      void waited
        .catch(() => undefined) // it was to be answered at once
        .then(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}'));
    });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}`,
    port,
    timesOf: (key) => times.get(key) ?? [],
    keys: () => times.keys(),
    keysBelow: (begin) =>
      [...keysAt].filter(([path]) => path.startsWith(begin)).map(([path, keys]) => ({ path, keys })),
    delay(path, ms) {
      slow = { path, ms };
    },
    answer(path) {
      for (const entry of pending) if (path.test(entry.path)) entry.answer();
    },
    pending: (path) => [...pending].filter((entry) => path.test(entry.path)).length,
    callers: (path) => [...pending].filter((entry) => path.test(entry.path)).map(({ port }) => port),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
