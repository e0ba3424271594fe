import { apiKeys } from '../core/config/api-keys.ts';
import { loadConfig } from '../core/config/load.ts';
import { workerKeys } from '../core/config/worker-keys.ts';
import { dataDirectoryKeys } from './config-keys.ts';
import { findEmbedded } from './doctor/embedded.ts';
import type { Io } from './session.ts';

const { API_PORT, API_ADMIN_PORT } = apiKeys;
const { WORKER_PORT } = workerKeys;

/**
 * Where health and metrics of this machine's processes are: of the platform that runs on MILLRACE_DATA_DIR, or as this
 * environment says.
 *
 * @throws AppError `config_invalid`
 */
export async function processPorts(
  io: Pick<Io, 'env' | 'cwd'>,
): Promise<{ readonly api: number; readonly worker: number }> {
  const { MILLRACE_DATA_DIR } = loadConfig(dataDirectoryKeys, io.env);
  const embedded = await findEmbedded(MILLRACE_DATA_DIR, io.cwd, io.env);
  const config = loadConfig({ API_PORT, API_ADMIN_PORT, WORKER_PORT }, embedded?.env ?? io.env);
  return { api: config.API_ADMIN_PORT ?? config.API_PORT, worker: config.WORKER_PORT };
}
