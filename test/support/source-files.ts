import { execFile } from 'node:child_process';
import { glob, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PROJECT_ROOT } from './processes.ts';

const run = promisify(execFile);

/** The files of src/ that run in production, as paths from the project's root. */
export async function sourceFiles(): Promise<readonly string[]> {
  const files: string[] = [];
  for await (const file of glob('src/**/*.ts', { cwd: PROJECT_ROOT })) {
    if (!file.endsWith('.test.ts')) files.push(file);
  }
  return files.sort();
}

/** Every file that is, or would be, in the repository. */
export async function projectFiles(): Promise<readonly string[]> {
  const { stdout } = await run('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
    cwd: PROJECT_ROOT,
    maxBuffer: 16 * 1024 * 1024,
  });
  const files = [...new Set(stdout.split('\0'))].filter((file) => file !== '');
  const there = await Promise.all(files.map((file) => isFile(join(PROJECT_ROOT, file))));
  return files.filter((_, index) => there[index]);
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false, // deleted, not yet committed
  );
