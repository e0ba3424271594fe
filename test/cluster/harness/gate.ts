import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A service that steps call, which answers nobody while it is shut. */
export interface Gate {
  readonly url: string;
  readonly port: number;
  /** How many wait for their answer. */
  held(): number;
  open(): void;
  shut(): void;
  close(): Promise<void>;
}

/** @param host where it listens; it is shut at first */
export async function startGate(host: string): Promise<Gate> {
  const waiting = new Set<ServerResponse>();
  let isOpen = false;
  const answer = (response: ServerResponse): void => {
    waiting.delete(response);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
  };
  const server = createServer((request, response) => {
    waiting.add(response);
    response.on('close', () => waiting.delete(response));
    request.resume();
    request.on('end', () => isOpen && answer(response));
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}`,
    port,
    held: () => waiting.size,
    open() {
      isOpen = true;
      for (const response of waiting) answer(response);
    },
    shut() {
      isOpen = false;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
