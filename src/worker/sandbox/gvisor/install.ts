import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../../core/logger.ts';

export interface InstallOptions {
  readonly cacheDirectory: string;
  readonly path: string;
  readonly logger: Logger;
}

const KEPT_LINES = 5;

/**
 * Gets runsc into the cache by running `scripts/install-gvisor`, whose lines go into the log.
 *
 * @returns undefined, or why it failed
 */
export async function installGvisor(options: InstallOptions): Promise<string | undefined> {
  const script = fileURLToPath(new URL('../../../../scripts/install-gvisor', import.meta.url));
  const child = spawn(script, [options.cacheDirectory], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: options.path, HOME: homedir() },
  });
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    options.logger.info({ line }, 'installing gVisor');
    lines.push(line);
    if (lines.length > KEPT_LINES) lines.shift();
  });
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code) => resolve(code === 0 ? undefined : (lines.at(-1) ?? `exit code ${code}`)));
  });
}
