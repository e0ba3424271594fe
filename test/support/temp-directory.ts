import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { removeDirectory } from './remove-directory.ts';

/** A folder for one test. Its mode lets the database's user pass when the tests run as root. */
export async function makeTempDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  await chmod(directory, 0o711);
  onTestFinished(() => removeDirectory(directory));
  return directory;
}
