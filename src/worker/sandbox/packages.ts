import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, type Dirent } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { newUnpackBudget, readWheel } from '../../core/bundle/wheel-archive.ts';
import { errorCodeOf } from '../../core/errors/app-error.ts';
import { z } from '../../core/zod.ts';

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

export interface PackageStoreOptions {
  /** Made when it is missing. Several processes may share it. */
  readonly directory: string;
  /** Beyond this, what was used the longest ago goes. */
  readonly maxBytes: number;
  /** Ids that sandboxes of this process have in use, which stay. */
  readonly inUse?: () => ReadonlySet<string>;
  /** What was used within this time stays in any case: sandboxes of another process may have it. */
  readonly minAgeMs?: number;
  readonly now?: () => number;
}

export interface PackageStore {
  /**
   * The folder with what these wheels hold; it is unpacked when it is not there yet.
   *
   * @throws WheelArchiveError for an archive that is damaged, hostile or too large; Error when a hash is not the wheel's
   */
  prepare(wheels: readonly PackageWheel[]): Promise<Packages>;
}

const manifestSchema = z.object({ bytes: z.int(), files: z.int() });
type Manifest = z.output<typeof manifestSchema>;

const TEMPORARY = '.new-';
const STALE_MS = 3_600_000;
const TOUCH_EVERY_MS = 60_000;
const DEFAULT_MIN_AGE_MS = 6 * 3_600_000;

/** Unpacks Python wheels below a folder, once for each set of them. */
export function createPackageStore(options: PackageStoreOptions): PackageStore {
  const { now = Date.now } = options;
  const prepared = new Map<string, { readonly done: Promise<Packages>; touchedAtMs: number }>();

  const prepareOnce = async (id: string, wheels: readonly PackageWheel[]): Promise<Packages> => {
    const folder = join(options.directory, id);
    if (!(await isWhole(folder))) await unpackInto(options, folder, wheels);
    await touch(folder, now());
    await evict(options, id).catch((error: unknown) => {
      // Another process does the same: what it has just removed is no failure here.
      if (errorCodeOf(error) !== 'ENOENT') throw error;
    });
    return { id, folder: join(folder, 'site') };
  };
  return {
    async prepare(wheels) {
      const id = idOf(wheels);
      const known = prepared.get(id);
      if (known === undefined) {
        const entry = { done: prepareOnce(id, wheels), touchedAtMs: now() };
        prepared.set(id, entry);
        // Nothing evicted it while it was in use, but it may be gone afterwards: it is looked at again next time.
        entry.done.catch(() => prepared.delete(id));
        return entry.done;
      }
      const packages = await known.done;
      if (now() - known.touchedAtMs < TOUCH_EVERY_MS) return packages;
      known.touchedAtMs = now();
      try {
        await touch(join(options.directory, id), now());
        return packages;
      } catch (error) {
        if (errorCodeOf(error) !== 'ENOENT') throw error;
        prepared.delete(id);
        return this.prepare(wheels);
      }
    },
  };
}

const idOf = (wheels: readonly PackageWheel[]): string =>
  createHash('sha256')
    .update(JSON.stringify(wheels.map(({ sha256 }) => sha256).toSorted()))
    .digest('hex');

const manifestOf = (folder: string): string => join(folder, 'manifest.json');

/** The time of its manifest is when a set was used last. */
const touch = (folder: string, nowMs: number): Promise<void> =>
  utimes(manifestOf(folder), nowMs / 1000, nowMs / 1000);

async function readManifest(folder: string): Promise<Manifest | undefined> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(manifestOf(folder), 'utf8')));
  } catch {
    return undefined;
  }
}

/** A machine that lost its power may have kept a folder whose files are empty. */
async function isWhole(folder: string): Promise<boolean> {
  const manifest = await readManifest(folder);
  if (manifest === undefined) return false;
  const found = await measure(join(folder, 'site'));
  return found.bytes === manifest.bytes && found.files === manifest.files;
}

async function measure(folder: string): Promise<Manifest> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = await Promise.all(
    entries
      .filter((entry: Dirent) => entry.isFile())
      .map((entry) => stat(join(entry.parentPath, entry.name))),
  );
  return { bytes: sizes.reduce((sum, { size }) => sum + size, 0), files: sizes.length };
}

async function unpackInto(
  { directory }: PackageStoreOptions,
  folder: string,
  wheels: readonly PackageWheel[],
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const temporary = join(directory, `${TEMPORARY}${randomUUID()}`);
  try {
    const site = join(temporary, 'site');
    const folders = new Set<string>();
    await makeFolder(temporary, folders);
    await makeFolder(site, folders);
    const budget = newUnpackBudget();
    for (const wheel of wheels) await unpackWheel(wheel, site, budget, folders);
    await writeFile(manifestOf(temporary), JSON.stringify(await measure(site)));
    // What is there by now is another process's, or was found damaged.
    if (await isWhole(folder)) return;
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder).catch(async (error: unknown) => {
      if (!(await isWhole(folder))) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
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

/** Removes what was used the longest ago until the rest fits, and what others left half made. */
async function evict(options: PackageStoreOptions, keep: string): Promise<void> {
  const { directory, maxBytes, inUse = () => new Set<string>(), now = Date.now } = options;
  const minAgeMs = options.minAgeMs ?? DEFAULT_MIN_AGE_MS;
  const sets: { readonly id: string; readonly bytes: number; readonly usedAtMs: number }[] = [];
  for (const id of await readdir(directory)) {
    if (id.startsWith(TEMPORARY)) {
      const { mtimeMs } = await stat(join(directory, id));
      if (now() - mtimeMs > STALE_MS) await rm(join(directory, id), { recursive: true, force: true });
      continue;
    }
    const manifest = await readManifest(join(directory, id));
    if (manifest === undefined) continue;
    const { mtimeMs } = await stat(manifestOf(join(directory, id)));
    sets.push({ id, bytes: manifest.bytes, usedAtMs: mtimeMs });
  }
  let total = sets.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { id, bytes, usedAtMs } of sets.toSorted((a, b) => a.usedAtMs - b.usedAtMs)) {
    if (total <= maxBytes) return;
    if (id === keep || inUse().has(id) || now() - usedAtMs < minAgeMs) continue;
    // Under another name first, so that nobody takes half of it for whole.
    const doomed = join(directory, `${TEMPORARY}${randomUUID()}`);
    await rename(join(directory, id), doomed);
    await rm(doomed, { recursive: true, force: true });
    total -= bytes;
  }
}
