import {
  createServer,
  STATUS_CODES,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { appError, errorCodeOf } from '../../core/errors/app-error.ts';
import { problemReply } from './problem.ts';

export interface HttpServerOptions {
  /** For the whole head of a request. */
  readonly headersTimeoutMs?: number;
  /** For the whole request, body included. */
  readonly requestTimeoutMs?: number;
  readonly maxHeaderBytes?: number;
}

/**
 * What clients are told of how long they may reuse an idle connection. Those that heed it (undici, Node's agent) have given up
 * theirs when a server stops that they have not spoken to for a while; else they would send into its end.
 */
const KEEP_ALIVE_MS = 5000;
/** Longer than load balancers keep a connection, so that they close it, not we in their next request. */
const IDLE_MS = 75_000;

/**
 * An HTTP server that closes slow connections (SECURITY section 5) and answers what is no HTTP request with a problem
 * document. It does not listen yet.
 */
export function createHttpServer(listener: RequestListener, options: HttpServerOptions = {}): Server {
  const server = createServer(
    {
      headersTimeout: options.headersTimeoutMs ?? 10_000,
      requestTimeout: options.requestTimeoutMs ?? 30_000,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveTimeoutBuffer: IDLE_MS - KEEP_ALIVE_MS,
      maxHeaderSize: options.maxHeaderBytes ?? 16 * 1024,
      // Node looks for late requests only every 30 s otherwise.
      connectionsCheckingInterval: 1_000,
    },
    listener,
  );
  server.on('clientError', refuseClient);
  return server;
}

/** After so long without a request, whoever has a connection open is not just about to use it. */
const QUIET_MS = 500;
const FAREWELL_MS = 3000;
const LOOK_MS = 50;

/**
 * For a server that is about to stop: it takes what still reaches it, and has each connection closed with its answer, so
 * that the next request goes to another replica instead of into a reset.
 *
 * @returns the function that begins it, for requests under way too; resolves when no connection is in use any more, or after
 *   a few seconds
 */
export function createFarewell(
  server: Server,
  {
    quietMs = QUIET_MS,
    limitMs = FAREWELL_MS,
  }: { readonly quietMs?: number; readonly limitMs?: number } = {},
): () => Promise<void> {
  const open = new Set<ServerResponse>();
  const sockets = new Set<Socket>();
  let begun = false;
  let lastRequestMs = -Infinity;
  const close = (res: ServerResponse): void => {
    if (!res.headersSent) res.setHeader('connection', 'close');
  };
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.prependListener('request', (_req, res) => {
    lastRequestMs = performance.now();
    open.add(res);
    res.once('close', () => open.delete(res));
    if (begun) close(res);
  });
  return async () => {
    begun = true;
    for (const res of open) close(res);
    const until = performance.now() + limitMs;
    while (sockets.size > 0 && performance.now() < Math.min(lastRequestMs + quietMs, until))
      await delay(LOOK_MS, undefined, { ref: false });
  };
}

/** Node's parser refused the request before there was one; it gives us only the socket. */
function refuseClient(raw: Error, socket: Socket): void {
  if (!socket.writable || errorCodeOf(raw) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const { status, headers, document } = problemReply(problemOf(errorCodeOf(raw)), randomUUID());
  const body = JSON.stringify(document);
  const lines = Object.entries({
    ...headers,
    connection: 'close',
    'content-length': Buffer.byteLength(body),
  });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
      lines.map(([name, value]) => `${name}: ${value}\r\n`).join('') +
      `\r\n${body}`,
  );
}

function problemOf(code: string | undefined) {
  if (code === 'HPE_HEADER_OVERFLOW') return appError('headers_too_large');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return appError('request_timeout');
  return appError('invalid_request', { args: ['This is not a well-formed HTTP/1.1 request'] });
}
