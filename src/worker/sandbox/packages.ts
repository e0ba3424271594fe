import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { newUnpackBudget, readWheel } from '../../core/bundle/wheel-archive.ts';
import { createFolderCache, type FolderCacheOptions } from './folder-cache.ts';

/** A wheel that can be had when it is needed. */
export interface PackageWheel {
  readonly name: string;
  /** Hex; what is loaded has to have it. */
  readonly sha256: string;
  readonly load: () => Promise<Uint8Array>;
}

export interface Packages {
  /** Tells the content: equal ids, equal packages. */
  readonly id: string;
  /** What Python imports from. */
  readonly folder: string;
}

export type PackageStoreOptions = Omit<FolderCacheOptions, 'content'>;

export interface PackageStore {
  /**
   * The folder with what these wheels hold; it is unpacked when it is not there yet.
   *
   * @throws WheelArchiveError for an archive that is damaged, hostile or too large; Error when a hash is not the wheel's
   */
  prepare(wheels: readonly PackageWheel[]): Promise<Packages>;
}

/** Unpacks Python wheels below a folder, once for each set of them. */
export function createPackageStore(options: PackageStoreOptions): PackageStore {
  const cache = createFolderCache({ ...options, content: 'site' });
  return {
    async prepare(wheels) {
      const id = idOf(wheels);
      return { id, folder: await cache.provide(id, (site) => unpackWheels(wheels, site)) };
    },
  };
}

const idOf = (wheels: readonly PackageWheel[]): string =>
  createHash('sha256')
    .update(JSON.stringify(wheels.map(({ sha256 }) => sha256).toSorted()))
    .digest('hex');

async function unpackWheels(wheels: readonly PackageWheel[], site: string): Promise<void> {
  const folders = new Set<string>([site]);
  const budget = newUnpackBudget();
  for (const wheel of wheels) await unpackWheel(wheel, site, budget, folders);
}

async function unpackWheel(
  wheel: PackageWheel,
  site: string,
  budget: ReturnType<typeof newUnpackBudget>,
  folders: Set<string>,
): Promise<void> {
  const content = await wheel.load();
  const hash = createHash('sha256').update(content).digest('hex');
  if (hash !== wheel.sha256)
    throw new Error(`the wheel ${wheel.name} has the hash ${hash}, not ${wheel.sha256}`);
  for await (const entry of readWheel(content, budget)) {
    const path = join(site, entry.path);
    await makeFolder(dirname(path), folders, site);
    // As pip does: where two wheels hold the same path, the later one has it.
    await rm(path, { force: true });
    await pipeline(await entry.open(), createWriteStream(path, { flags: 'wx' }));
    // Readable by the sandbox's user, whatever the umask; changed by nobody.
    await chmod(path, 0o444);
  }
}

/** Makes a folder and those above it, up to `base`. */
async function makeFolder(folder: string, made: Set<string>, base = folder): Promise<void> {
  if (made.has(folder)) return;
  if (folder !== base) await makeFolder(dirname(folder), made, base);
  await mkdir(folder);
  await chmod(folder, 0o755);
  made.add(folder);
}
