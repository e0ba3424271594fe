import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAMS = fileURLToPath(new URL('./programs/', import.meta.url));

/**
 * Copies a program to where its packages are installed, for Node looks for them from there.
 *
 * @returns its path
 */
export async function placeProgram(folder: string, name: string): Promise<string> {
  for (const file of ['steps.mjs', name]) await copyFile(join(PROGRAMS, file), join(folder, file));
  return join(folder, name);
}
