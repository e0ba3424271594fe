import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../../src/cli/embedded/postgres.ts';
import type { Link } from './toxiproxy.ts';

/** A PostgreSQL server that can die and come back. */
export interface DatabaseServer {
  readonly pid: number;
  readonly port: number;
  /** Where its administrator connects to `database`. */
  url(database: string): string;
  ensureDatabase(database: string): Promise<void>;
  /** As SIGKILL to the postmaster does: no shutdown, no checkpoint. Resolves when its port is closed. */
  kill(): Promise<void>;
  /** After it has ended: recovers. Its port may be another one. */
  start(): Promise<void>;
  /** A fast shutdown; nothing happens to a server that has ended. */
  stop(): Promise<void>;
  /** What it wrote to its log since it was made. */
  log(): Promise<string>;
}

/** Makes a server whose data is in `directory`. */
export type StartDatabase = (directory: string) => Promise<DatabaseServer>;

/** The database server behind every wire: whatever its port is after a restart, the wires lead there. */
export interface StagePostgres {
  readonly pid: number;
  readonly port: number;
  url(database: string): string;
  /** As SIGKILL to the postmaster does: no shutdown, no checkpoint. Resolves when its port is closed. */
  kill(): Promise<void>;
  /** After it has ended: recovers, and leads the wires to it. */
  start(): Promise<void>;
  /** Another server takes its place: leads the wires there. The one before has ended. */
  follow(next: DatabaseServer): Promise<void>;
  /** What the present server wrote to its log since it was made. */
  log(): Promise<string>;
}

/** PostgreSQL from npm, as the embedded platform runs it. */
export const startEmbeddedServer: StartDatabase = async (directory) => {
  const start = (): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({ directory, password: 'only-for-tests', report: () => undefined });
  let server = await start();
  return {
    get pid() {
      return server.pid;
    },
    get port() {
      return server.port;
    },
    url: (database) => server.url(database),
    ensureDatabase: (database) => server.ensureDatabase(database),
    async kill() {
      process.kill(server.pid, 'SIGKILL');
      await server.ended;
    },
    async start() {
      server = await start();
    },
    stop: () => server.stop(),
    log: () => readFile(join(directory, 'postgres.log'), 'utf8'),
  };
};

/** @param wires all that lead to the server; may grow */
export function wireUp(
  first: DatabaseServer,
  wires: readonly Link[],
): StagePostgres & { stop(): Promise<void> } {
  let server = first;
  const redirect = async (): Promise<void> => {
    for (const wire of wires) await wire.redirect(server.port);
  };
  return {
    get pid() {
      return server.pid;
    },
    get port() {
      return server.port;
    },
    url: (database) => server.url(database),
    kill: () => server.kill(),
    async start() {
      await server.start();
      await redirect();
    },
    async follow(next) {
      server = next;
      await redirect();
    },
    log: () => server.log(),
    stop: () => server.stop(),
  };
}
