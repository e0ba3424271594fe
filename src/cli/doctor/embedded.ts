import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Environment } from '../../core/config/load.ts';
import { readRuntime, type Runtime } from '../embedded/data-directory.ts';
import { lockOwner } from '../embedded/lock.ts';
import { readSecrets } from '../embedded/secrets.ts';

/** The platform of `npm start` on a data directory, seen from outside. */
export interface EmbeddedPlatform {
  readonly directory: string;
  /** Undefined while it does not run. */
  readonly runtime: Runtime | undefined;
  /** What it would start with. */
  readonly env: Environment;
}

/** Undefined: there is none, and never was. */
export async function findEmbedded(
  dataDirectory: string,
  cwd: string,
  env: Environment,
): Promise<EmbeddedPlatform | undefined> {
  const directory = resolve(cwd, dataDirectory);
  const secrets = await readSecrets(directory);
  if (secrets === undefined) return undefined;
  const { DATABASE_PASSWORD: password, ...own } = secrets;
  const [runtime, owner] = await Promise.all([readRuntime(directory), lockOwner(directory)]);
  const isRunning = runtime !== undefined && runtime.pid === owner?.pid;
  const port = isRunning ? await postgresPort(directory) : undefined;
  return {
    directory,
    runtime: isRunning ? runtime : undefined,
    env: {
      ...own,
      ...(port !== undefined && {
        DATABASE_URL: `postgres://millrace:${encodeURIComponent(password)}@127.0.0.1:${port}/millrace`,
      }),
      ...(isRunning && { API_PORT: String(runtime.apiPort), WORKER_PORT: String(runtime.workerPort) }),
      ...Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== '')),
    },
  };
}

/** Line 4 of postmaster.pid: https://www.postgresql.org/docs/current/storage-file-layout.html */
async function postgresPort(directory: string): Promise<number | undefined> {
  try {
    const lines = (await readFile(join(directory, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
    const port = Number(lines[3]);
    return Number.isInteger(port) && port > 0 ? port : undefined;
  } catch {
    return undefined; // another user's, or not there
  }
}
