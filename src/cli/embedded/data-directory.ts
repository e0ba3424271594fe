import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from '../../core/zod.ts';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';

const runtimeSchema = z.object({
  pid: z.number().int(),
  url: z.string(),
  apiPort: z.number().int(),
  workerPort: z.number().int(),
});

/** What the running platform tells the command line about itself, in runtime.json. */
export type Runtime = Readonly<z.infer<typeof runtimeSchema>>;

/**
 * Makes the data directory where it is missing.
 *
 * @returns its absolute path
 * @throws CliError when it cannot be made or is not a folder
 */
export async function openDataDirectory(path: string): Promise<string> {
  const directory = resolve(path);
  try {
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    // Started as root, PostgreSQL runs as another user, who has to pass through (its own folder stays 0700).
    if (made !== undefined && process.getuid?.() === 0) await chmod(directory, 0o711);
    if (!(await stat(directory)).isDirectory()) throw new Error('it is not a folder');
  } catch (raw) {
    throw new CliError(
      `The data directory ${directory} cannot be used: ${coerceError(raw).message}. Set MILLRACE_DATA_DIR to a folder that may be made and written.`,
      { cause: raw },
    );
  }
  return directory;
}

const runtimeFile = (directory: string): string => join(directory, 'runtime.json');

export async function writeRuntime(directory: string, runtime: Runtime): Promise<void> {
  await writeFile(runtimeFile(directory), `${JSON.stringify(runtime)}\n`, { mode: 0o644 });
}

export async function removeRuntime(directory: string): Promise<void> {
  await rm(runtimeFile(directory), { force: true });
}

/** What the last platform on this directory told; it may have been killed since. */
export async function readRuntime(directory: string): Promise<Runtime | undefined> {
  try {
    const parsed = runtimeSchema.safeParse(JSON.parse(await readFile(runtimeFile(directory), 'utf8')));
    return parsed.data;
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT' || raw instanceof SyntaxError) return undefined;
    throw raw;
  }
}
