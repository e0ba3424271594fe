import { createServer } from 'node:http';
import { coerceError } from '../errors/app-error.ts';
import { closeServer, listen, type Closers } from '../lifecycle.ts';
import type { Logger } from '../logger.ts';
import type { AdminHandler } from './admin-handler.ts';

export interface AdminServerOptions {
  readonly admin: AdminHandler;
  readonly port: number;
  readonly host: string;
  /** The configuration key of the port, for the message when it is taken. */
  readonly key: string;
  readonly logger: Logger;
}

/** For a request that is under way when it closes. */
const GRACE_MS = 1000;

/**
 * Serves health and metrics on a port of their own, and 404 for all else, until the closers run.
 *
 * @returns the port
 * @throws AppError `port_in_use`
 */
export async function startAdminServer(options: AdminServerOptions, closers: Closers): Promise<number> {
  const { admin, logger } = options;
  const server = createServer((req, res) => {
    admin(req, res).then(
      (handled) => {
        if (!handled) res.writeHead(404).end();
      },
      (raw: unknown) => {
        logger.error({ err: coerceError(raw) }, 'a health request failed');
        res.destroy();
      },
    );
  });
  const port = await listen(server, options.port, options.host, options.key);
  closers.add(() => closeServer(server, GRACE_MS));
  return port;
}
