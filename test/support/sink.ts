import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A request that arrived from outside of the platform's bookkeeping: what really happened. */
export interface SinkEntry {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly at: number;
}

export interface SinkAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON unless it is a string. */
  readonly body?: unknown;
  readonly delayMs?: number;
}

export interface Sink {
  readonly url: string;
  readonly port: number;
  readonly entries: readonly SinkEntry[];
  close(): Promise<void>;
}

/** An HTTP service that writes a ledger of what it gets; `answer` decides what it says to the n-th request (from 1). */
export async function startSink(
  answer: (entry: SinkEntry, n: number) => SinkAnswer | Promise<SinkAnswer> = () => ({ body: { ok: true } }),
): Promise<Sink> {
  const entries: SinkEntry[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const entry: SinkEntry = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
        at: Date.now(),
      };
      entries.push(entry);
      void respond(response, answer(entry, entries.length));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    entries,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function respond(response: ServerResponse, answer: SinkAnswer | Promise<SinkAnswer>): Promise<void> {
  const { status = 200, headers = {}, body = {}, delayMs = 0 } = await answer;
  if (delayMs > 0) await delay(delayMs);
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
