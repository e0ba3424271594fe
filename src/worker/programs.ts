import { isAbsolute } from 'node:path';
import type { Queryable } from '../core/db/database.ts';
import { terminalError } from '../core/step-error.ts';
import { createProgramLoader } from '../core/workflows/program-loader.ts';
import type { LoadedProgram } from './executors/code.ts';
import { createPackageStore } from './sandbox/packages.ts';

export interface ProgramOptions {
  readonly db: Queryable;
  /** Where Python packages are unpacked; may be removed at any time. */
  readonly packagesDirectory: string;
}

const MAX_PACKAGE_BYTES = 4 * 1024 ** 3;

/** Loads what a step's file was made into when its version was saved, with its packages on this machine. */
export function createPrograms({
  db,
  packagesDirectory,
}: ProgramOptions): (workflowId: string, version: number, file: string) => Promise<LoadedProgram> {
  if (!isAbsolute(packagesDirectory)) throw new Error(`${packagesDirectory} is no absolute path`);
  const load = createProgramLoader(db);
  const packages = createPackageStore({ directory: packagesDirectory, maxBytes: MAX_PACKAGE_BYTES });
  return async (workflowId, version, file) => {
    const stored = await load(workflowId, version, file);
    if (stored === undefined) {
      throw terminalError(
        'internal_error',
        `The version holds no program of ${file}; save the workflow again, then retry with the latest version`,
      );
    }
    const { id, runtime, entry, source, wheels, mapStack } = stored;
    const program = { id, runtime, entry, source };
    if (wheels.length === 0) return { program, mapStack };
    return { program: { ...program, packages: await packages.prepare(wheels) }, mapStack };
  };
}
