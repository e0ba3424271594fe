import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { appError, coerceError } from '../../core/errors/app-error.ts';
import { closeServer, listen, type Closers } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/logger.ts';
import type { AdminHandler } from '../../core/telemetry/admin-handler.ts';
import { startAdminServer } from '../../core/telemetry/admin-server.ts';
import { sendProblem } from './problem.ts';
import { createFarewell, createHttpServer } from './server.ts';

export interface DoorsOptions {
  readonly port: number;
  /** Of health and metrics; undefined, or the same port: they are on the other one. */
  readonly adminPort: number | undefined;
  readonly host: string;
  readonly admin: AdminHandler;
  readonly shutdownGraceMs: number;
  readonly logger: Logger;
}

/** Where the API is reached. */
export interface Doors {
  readonly port: number;
  readonly adminPort: number;
  /** From now on requests go to `serve`; before, all but health and metrics are answered with 503. */
  open(serve: (req: IncomingMessage, res: ServerResponse) => void): void;
  /** Has each connection closed with its answer; resolves when none is in use any more, or after a few seconds. */
  sayFarewell(): Promise<void>;
  /** Takes no more connections, and finishes requests under way. Idempotent. */
  close(): Promise<void>;
}

const NOT_OPEN_RETRY_AFTER_S = 2;

/**
 * Listens at once, before anything can be served: whoever asks for health gets an answer while the database is waited for.
 *
 * @throws AppError `port_in_use`
 */
export async function createDoors(options: DoorsOptions, closers: Closers): Promise<Doors> {
  const { admin, host, logger } = options;
  // Two servers on a port of free choice each have one of their own.
  const hasOwnAdminPort =
    options.adminPort !== undefined && (options.adminPort !== options.port || options.port === 0);
  let serve = (req: IncomingMessage, res: ServerResponse): void => {
    (hasOwnAdminPort ? Promise.resolve(false) : admin(req, res)).then(
      (isAnswered) => {
        if (!isAnswered) {
          sendProblem(res, appError('unavailable', { retryAfterS: NOT_OPEN_RETRY_AFTER_S }), randomUUID());
        }
      },
      (raw: unknown) => {
        logger.error({ err: coerceError(raw) }, 'a health request failed');
        res.destroy();
      },
    );
  };
  const server = createHttpServer((req, res) => serve(req, res));
  const sayFarewell = createFarewell(server);
  const close = (): Promise<void> => closeServer(server, options.shutdownGraceMs);
  const port = await listen(server, options.port, host, 'API_PORT');
  closers.add(close);
  const adminPort = hasOwnAdminPort
    ? await startAdminServer(
        { admin, host, logger, port: options.adminPort ?? port, key: 'API_ADMIN_PORT' },
        closers,
      )
    : port;
  return {
    port,
    adminPort,
    open: (next) => void (serve = next),
    sayFarewell,
    close,
  };
}
