import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** A server that keeps what came to it: not even a connection goes unseen. */
export interface TestServer {
  readonly port: number;
  readonly url: string;
  readonly requests: readonly IncomingMessage[];
  readonly sockets: readonly Socket[];
}

const servers: Server[] = [];

export const ok: RequestListener = (_, response) => response.end('ok');

/** Starts a server on loopback; {@link closeServers} ends it. */
export async function serve(
  handler: RequestListener = ok,
  host = '127.0.0.1',
  port = 0,
): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  const sockets: Socket[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.on('connection', (socket) => sockets.push(socket));
  servers.push(server);
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo; // it listens on TCP
  return { port: address.port, url: `http://${host}:${address.port}`, requests, sockets };
}

/** Ends the servers of a test, and whatever is connected to them. */
export function closeServers(): void {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
}
