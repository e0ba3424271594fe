import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { librariesOf } from '../../src/worker/sandbox/rootfs/libraries.ts';
import { makeTar, type LayerSource, type Member } from './oci-layout.ts';

const FOLDERS = ['/bin', '/usr/bin'];

/** A layer with a shell and a few programs of this machine, and what they are linked with: enough for an image. */
export async function makeShellLayer(
  programs: readonly string[] = ['sh', 'cat', 'head', 'id', 'env', 'sleep', 'ls', 'touch', 'mkdir', 'cp'],
): Promise<LayerSource> {
  const files = await Promise.all(programs.map(findProgram));
  const libraries = await librariesOf(files, process.env['PATH'] ?? '');
  const members = new Map<string, Member>();
  for (const [index, file] of files.entries()) {
    const path = `usr/bin/${programs[index]}`;
    members.set(path, { path, content: await readFile(file), mode: 0o755 });
  }
  for (const { from, inside } of libraries) {
    const path = inside.slice(1);
    members.set(path, { path, content: await readFile(from), mode: 0o755 });
  }
  return {
    tar: makeTar([{ path: 'bin', type: 'SymbolicLink', target: 'usr/bin' }, ...members.values()]),
    compression: 'none',
  };
}

async function findProgram(name: string): Promise<string> {
  for (const folder of FOLDERS) {
    const found = await realpath(join(folder, name)).catch(() => undefined);
    if (found !== undefined) return found;
  }
  throw new Error(`this machine has no program ${name}`);
}
