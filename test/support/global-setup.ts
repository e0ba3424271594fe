import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/cli/embedded/postgres.ts';
import { migrate } from '../../src/core/db/migrate.ts';
import { startRedisServer } from './redis-server.ts';
import { removeDirectory } from './remove-directory.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The server's administrator, connected to the database `postgres`. */
    postgresAdminUrl: string;
    /** A migrated database to clone; nobody may be connected to it. */
    postgresTemplate: string;
    redisUrl: string;
  }
}

const TEMPLATE = 'millrace_template';
const SHARED = Symbol.for('millrace.test-servers');

interface Shared {
  servers: Promise<Servers> | undefined;
  users: number;
}

interface Servers {
  readonly provided: { readonly postgresAdminUrl: string; readonly redisUrl: string };
  stop(): Promise<void>;
}

// Every project runs this set-up in the same process, but in an instance of its own of this module; so what they share
// hangs on the process's global object.
const state = ((globalThis as { [SHARED]?: Shared })[SHARED] ??= { servers: undefined, users: 0 });

/** One PostgreSQL with a migrated template, and one Redis, for all test files. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  state.users += 1;
  const servers = await (state.servers ??= startServers());
  project.provide('postgresAdminUrl', servers.provided.postgresAdminUrl);
  project.provide('postgresTemplate', TEMPLATE);
  project.provide('redisUrl', servers.provided.redisUrl);
  return async () => {
    state.users -= 1;
    if (state.users > 0) return;
    state.servers = undefined;
    await servers.stop();
  };
}

async function startServers(): Promise<Servers> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o711); // the database's user has to get through
  const redis = await startRedisServer();
  const postgres = await startEmbeddedPostgres({
    directory,
    password: 'only-for-tests',
    report: (message) => process.stderr.write(`${message}\n`),
  });
  const adminUrl = postgres.url('postgres');
  await postgres.ensureDatabase(TEMPLATE);
  await migrate(postgres.url(TEMPLATE));
  await closeTemplate(adminUrl);
  return {
    provided: { postgresAdminUrl: adminUrl, redisUrl: redis.url },
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()]);
      await removeDirectory(directory);
    },
  };
}

/** A template with sessions cannot be cloned, so nobody may open one. */
async function closeTemplate(adminUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  await client.query(`alter database ${TEMPLATE} is_template true allow_connections false`);
  await client.end();
}
