import { resolve } from 'node:path';
import { loadConfig, type Environment } from '../core/config/load.ts';
import { errorCodeOf } from '../core/errors/app-error.ts';
import { CliError, EXIT } from './cli-error.ts';
import { clientKeys } from './config-keys.ts';
import { readRuntime, type Runtime } from './embedded/data-directory.ts';
import { lockOwner } from './embedded/lock.ts';
import { readSecrets, secretsFile } from './embedded/secrets.ts';

/** Where a command acts. Only an API so far. */
export interface Target {
  /** Without a trailing slash. */
  readonly url: string;
  readonly apiKey: string;
  /** For a person, on stderr. */
  readonly description: string;
}

export interface TargetOptions {
  readonly url?: string;
  readonly apiKey?: string;
}

/**
 * `--url`, then MILLRACE_URL, then the platform that runs on MILLRACE_DATA_DIR. That platform's own API key is sent to
 * it alone, never to a URL that was named.
 *
 * @throws CliError when there is no target or no key for it; AppError `config_invalid`
 */
export async function resolveTarget(options: TargetOptions, env: Environment, cwd: string): Promise<Target> {
  const config = loadConfig(clientKeys, { ...env, ...given(options) });
  const apiKey = config.MILLRACE_API_KEY;
  const directory = resolve(cwd, config.MILLRACE_DATA_DIR);
  const local = await runningOn(directory);
  const url = config.MILLRACE_URL ?? local?.url;
  if (url === undefined) {
    throw new CliError(
      `No Millrace runs on ${directory}. Start it with \`npm start\`, or name one with --url or MILLRACE_URL.`,
    );
  }
  const isLocal = local !== undefined && sameOrigin(local.url, url);
  const description = isLocal ? `${url} (process ${local.pid}, data in ${directory})` : url;
  if (apiKey !== undefined) return { url, apiKey, description };
  if (!isLocal) {
    throw new CliError(
      `An API key for ${url} is needed: give --api-key, MILLRACE_API_KEY or MILLRACE_API_KEY_FILE.`,
      {
        exitCode: EXIT.configuration,
      },
    );
  }
  return { url, apiKey: await localApiKey(directory), description };
}

/** Options are checked as the variables they stand for. */
function given(options: TargetOptions): Environment {
  return {
    ...(options.url !== undefined && { MILLRACE_URL: options.url }),
    ...(options.apiKey !== undefined && {
      MILLRACE_API_KEY: options.apiKey,
      MILLRACE_API_KEY_FILE: undefined,
    }),
  };
}

async function runningOn(directory: string): Promise<Runtime | undefined> {
  const [runtime, owner] = await Promise.all([readRuntime(directory), lockOwner(directory)]);
  return runtime !== undefined && runtime.pid === owner?.pid ? runtime : undefined;
}

async function localApiKey(directory: string): Promise<string> {
  try {
    const secrets = await readSecrets(directory);
    if (secrets !== undefined) return secrets.MILLRACE_BOOTSTRAP_API_KEY;
  } catch (raw) {
    if (errorCodeOf(raw) !== 'EACCES') throw raw;
  }
  throw new CliError(
    `The API key in ${secretsFile(directory)} cannot be read by you; give --api-key or MILLRACE_API_KEY.`,
    { exitCode: EXIT.configuration },
  );
}

const sameOrigin = (one: string, other: string): boolean => new URL(one).origin === new URL(other).origin;
