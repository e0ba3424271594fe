import { execFile } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { coerceError } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';

const run = promisify(execFile);

/** The system user that runs PostgreSQL; undefined means the current one. */
export interface DatabaseUser {
  readonly uid: number;
  readonly gid: number;
}

const NAME = 'postgres';

/**
 * PostgreSQL refuses to run as root: then it runs as the system user `postgres`, who is made when missing.
 *
 * @throws CliError when the user is missing and cannot be made
 */
export async function ensureDatabaseUser(): Promise<DatabaseUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await lookUp();
  if (existing !== undefined) return existing;
  try {
    await run('groupadd', ['--system', NAME]).catch((raw: unknown) => {
      if ((raw as { code?: unknown }).code !== 9) throw raw; // 9: the group exists
    });
    await run('useradd', [
      '--system',
      '--gid',
      NAME,
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      NAME,
    ]);
  } catch (raw) {
    throw new CliError(
      `PostgreSQL does not run as root, and the system user "${NAME}" could not be made: ${coerceError(raw).message}. ` +
        'Make that user, start as an ordinary user, or set DATABASE_URL.',
      { cause: raw },
    );
  }
  const made = await lookUp();
  if (made === undefined) throw new CliError(`The system user "${NAME}" was made but cannot be found.`);
  return made;
}

async function lookUp(): Promise<DatabaseUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', NAME]), run('id', ['-g', NAME])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined; // `id` fails for unknown users
  }
}

/**
 * Refuses a path that the database's user cannot get to, such as one below a home directory of mode 0700.
 *
 * @throws CliError that names the first folder in the way, with `remedy`
 */
export async function requireReachable(
  user: DatabaseUser | undefined,
  directory: string,
  remedy: string,
): Promise<void> {
  if (user === undefined) return;
  const folders: string[] = [];
  for (let folder = resolve(directory); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (folder === dirname(folder)) break;
  }
  // Asking as that user also sees access control lists, which the mode does not show.
  const script = 'for d in "$@"; do [ -x "$d" ] || { printf %s "$d"; exit 0; }; done';
  const { stdout: blocked } = await run('/bin/sh', ['-c', script, 'sh', ...folders], {
    ...user,
    cwd: '/',
    env: {},
  });
  if (blocked === '') return;
  throw new CliError(
    `The folder ${blocked} is closed to the system user "${NAME}", who runs PostgreSQL when Millrace is started as root ` +
      `(it is on the way to ${directory}). ${remedy.replaceAll('%s', blocked)}`,
  );
}
