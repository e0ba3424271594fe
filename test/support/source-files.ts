import { glob } from 'node:fs/promises';
import { PROJECT_ROOT } from './processes.ts';

/** The files of src/ that run in production, as paths from the project's root. */
export async function sourceFiles(): Promise<readonly string[]> {
  const files: string[] = [];
  for await (const file of glob('src/**/*.ts', { cwd: PROJECT_ROOT })) {
    if (!file.endsWith('.test.ts')) files.push(file);
  }
  return files.sort();
}
