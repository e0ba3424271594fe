import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PROJECT_ROOT } from './processes.ts';

/** End-to-end tests run what images run: dist/, built from the sources of this moment. */
export default async function build(): Promise<void> {
  await promisify(execFile)(process.execPath, ['scripts/build.ts'], { cwd: PROJECT_ROOT }).catch(
    (raw: unknown) => {
      const { stdout = '' } = raw as { readonly stdout?: string };
      throw new Error(`dist/ cannot be built:\n${stdout}`, { cause: raw });
    },
  );
}
