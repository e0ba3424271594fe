import { execFile } from 'node:child_process';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../../test/support/cache-directory.ts';

const INSTALL_WITHIN_MS = 15 * 60_000;

export interface NpmFolder {
  /** Of the folder, in the cache. */
  readonly name: string;
  /** As `npm install` takes them, each with its version. */
  readonly packages: readonly string[];
  readonly overrides?: Readonly<Record<string, string>>;
  /** A file below node_modules that is there once all is installed. */
  readonly proof: string;
}

/**
 * Installs packages into a folder of their own in the cache, once.
 *
 * @returns the folder
 * @throws Error with what npm says when it cannot
 */
export async function installInto(
  { name, packages, overrides = {}, proof }: NpmFolder,
  say: (text: string) => void,
): Promise<string> {
  const folder = join(cacheDirectory(), name);
  const isThere = await access(join(folder, 'node_modules', proof)).then(
    () => true,
    () => false,
  );
  if (isThere) return folder;
  say(`installing ${packages.join(', ')} into ${folder}; this takes minutes`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module', overrides }));
  await promisify(execFile)('npm', ['install', ...packages, '--no-audit', '--no-fund'], {
    cwd: folder,
    timeout: INSTALL_WITHIN_MS,
    maxBuffer: 64 * 1024 * 1024,
  }).catch((raw: unknown) => {
    const { stderr = '' } = raw as { readonly stderr?: string };
    const reasons = stderr.split('\n').filter((line) => line.startsWith('npm error'));
    throw new Error(reasons.slice(0, 5).join('\n') || String(raw), { cause: raw });
  });
  return folder;
}
