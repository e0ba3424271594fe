import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeTempDirectory } from './temp-directory.ts';

const run = promisify(execFile);

export interface PromtoolResult {
  readonly ok: boolean;
  /** All that it said. */
  readonly output: string;
}

/**
 * Runs `promtool <args>` in a folder of its own that holds `files`.
 *
 * @throws Error with what to install, when there is no promtool
 */
export async function promtool(
  args: readonly string[],
  files: Readonly<Record<string, string>>,
): Promise<PromtoolResult> {
  const cwd = await makeTempDirectory();
  for (const [name, text] of Object.entries(files)) await writeFile(join(cwd, name), text);
  try {
    const { stdout, stderr } = await run('promtool', [...args], {
      cwd,
      maxBuffer: 16 * 1024 * 1024,
      // It lives for seconds, of which collecting garbage would take a third.
      env: { ...process.env, GOGC: '400' },
    });
    return { ok: true, output: stdout + stderr };
  } catch (raw) {
    const failure = raw as {
      readonly code?: string | number;
      readonly stdout?: string;
      readonly stderr?: string;
    };
    if (failure.code === 'ENOENT') {
      throw new Error(
        'The tests need promtool of the package prometheus. Run `scripts/setup-test-machine`, or `apt-get install prometheus`.',
        { cause: raw },
      );
    }
    return { ok: false, output: `${failure.stdout ?? ''}${failure.stderr ?? ''}` };
  }
}
