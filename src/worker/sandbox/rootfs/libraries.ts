import { execFile } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface SharedLibrary {
  readonly from: string;
  /** Where the loader looks for it without a cache, inside. */
  readonly inside: string;
}

const SYSTEM_FOLDER = /^\/(usr\/)?lib(32|64|x32)?\//;

/**
 * The shared libraries that programs and modules need, and the loader, as ldd(1) names them. Those from folders that the
 * loader knows only on this machine go beside the C library.
 *
 * @param path where ldd is looked for
 * @throws Error naming what is missing
 */
export async function librariesOf(files: readonly string[], path: string): Promise<readonly SharedLibrary[]> {
  const { stdout } = await run('ldd', [...files], { env: { PATH: path, LC_ALL: 'C' } });
  const found = new Set<string>();
  for (const line of stdout.split('\n')) {
    const missing = /^\s*(\S+) => not found/.exec(line);
    if (missing) throw new Error(`the library ${missing[1]} is needed and not on this machine`);
    const file = /^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (file !== undefined) found.add(file);
  }
  const libc = [...found].find((file) => /^libc\.(so|musl)/.test(basename(file)));
  if (libc === undefined)
    throw new Error('ldd names no C library; only dynamically linked programs are known');
  return [...found].map((from) => ({
    from,
    inside: SYSTEM_FOLDER.test(from) ? from : join(dirname(libc), basename(from)),
  }));
}
