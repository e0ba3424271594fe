import { randomUUID } from 'node:crypto';
import type { Dirent } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { errorCodeOf } from '../../core/errors/app-error.ts';
import { z } from '../../core/zod.ts';

export interface FolderCacheOptions {
  /** Made when it is missing. Several processes may share it. */
  readonly directory: string;
  /** Name of the folder with the content, within that of an id. */
  readonly content: string;
  /** Beyond this, what was used the longest ago goes. */
  readonly maxBytes: number;
  /** Ids that sandboxes of this process have in use, which stay. */
  readonly inUse?: () => ReadonlySet<string>;
  /** What was used within this time stays in any case: sandboxes of another process may have it. */
  readonly minAgeMs?: number;
  readonly now?: () => number;
}

/** Folders that can be made again from what their ids stand for: made once, whole or not at all. */
export interface FolderCache {
  /**
   * The folder with the content of an id, which is made when it is not there yet.
   *
   * @param id also a file's name
   * @param fill puts the content into a folder that is there and empty; may use others beside it. What it throws is
   *   thrown, and nothing is left
   */
  provide(id: string, fill: (content: string) => Promise<void>): Promise<string>;
}

const manifestSchema = z.object({ bytes: z.int(), files: z.int() });
type Manifest = z.output<typeof manifestSchema>;

const TEMPORARY = '.new-';
const STALE_MS = 3_600_000;
const TOUCH_EVERY_MS = 60_000;
const DEFAULT_MIN_AGE_MS = 6 * 3_600_000;

export function createFolderCache(options: FolderCacheOptions): FolderCache {
  const { now = Date.now } = options;
  const provided = new Map<string, { readonly done: Promise<string>; touchedAtMs: number }>();

  const provideOnce = async (id: string, fill: (content: string) => Promise<void>): Promise<string> => {
    const folder = join(options.directory, id);
    if (!(await isWhole(folder, options.content))) await make(options, folder, fill);
    await touch(folder, now());
    await evict(options, id).catch((error: unknown) => {
      // Another process does the same: what it has just removed is no failure here.
      if (errorCodeOf(error) !== 'ENOENT') throw error;
    });
    return join(folder, options.content);
  };
  return {
    async provide(id, fill) {
      const known = provided.get(id);
      if (known === undefined) {
        const entry = { done: provideOnce(id, fill), touchedAtMs: now() };
        provided.set(id, entry);
        // Nothing evicted it while it was in use, but it may be gone afterwards: it is looked at again next time.
        entry.done.catch(() => provided.delete(id));
        return entry.done;
      }
      const content = await known.done;
      if (now() - known.touchedAtMs < TOUCH_EVERY_MS) return content;
      known.touchedAtMs = now();
      try {
        await touch(join(options.directory, id), now());
        return content;
      } catch (error) {
        if (errorCodeOf(error) !== 'ENOENT') throw error;
        provided.delete(id);
        return this.provide(id, fill);
      }
    },
  };
}

const manifestOf = (folder: string): string => join(folder, 'manifest.json');

/** The time of its manifest is when a folder was used last. */
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
async function isWhole(folder: string, content: string): Promise<boolean> {
  const manifest = await readManifest(folder);
  if (manifest === undefined) return false;
  const found = await measure(join(folder, content));
  return found.bytes === manifest.bytes && found.files === manifest.files;
}

const MEASURED_AT_ONCE = 256;

async function measure(folder: string): Promise<Manifest> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry: Dirent) => entry.isFile());
  let bytes = 0;
  for (let at = 0; at < files.length; at += MEASURED_AT_ONCE) {
    const some = files.slice(at, at + MEASURED_AT_ONCE);
    const found = await Promise.all(some.map((entry) => lstat(join(entry.parentPath, entry.name))));
    bytes += found.reduce((sum, { size }) => sum + size, 0);
  }
  return { bytes, files: files.length };
}

async function make(
  { directory, content }: FolderCacheOptions,
  folder: string,
  fill: (content: string) => Promise<void>,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const temporary = join(directory, `${TEMPORARY}${randomUUID()}`);
  try {
    for (const made of [temporary, join(temporary, content)]) {
      await mkdir(made);
      await chmod(made, 0o755);
    }
    await fill(join(temporary, content));
    await writeFile(manifestOf(temporary), JSON.stringify(await measure(join(temporary, content))));
    // What is there by now is another process's, or was found damaged.
    if (await isWhole(folder, content)) return;
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder).catch(async (error: unknown) => {
      if (!(await isWhole(folder, content))) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Removes what was used the longest ago until the rest fits, and what others left half made. */
async function evict(options: FolderCacheOptions, keep: string): Promise<void> {
  const { directory, maxBytes, inUse = () => new Set<string>(), now = Date.now } = options;
  const minAgeMs = options.minAgeMs ?? DEFAULT_MIN_AGE_MS;
  const folders: { readonly id: string; readonly bytes: number; readonly usedAtMs: number }[] = [];
  for (const id of await readdir(directory)) {
    if (id.startsWith(TEMPORARY)) {
      const { mtimeMs } = await stat(join(directory, id));
      if (now() - mtimeMs > STALE_MS) await rm(join(directory, id), { recursive: true, force: true });
      continue;
    }
    const manifest = await readManifest(join(directory, id));
    if (manifest === undefined) continue;
    const { mtimeMs } = await stat(manifestOf(join(directory, id)));
    folders.push({ id, bytes: manifest.bytes, usedAtMs: mtimeMs });
  }
  let total = folders.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { id, bytes, usedAtMs } of folders.toSorted((a, b) => a.usedAtMs - b.usedAtMs)) {
    if (total <= maxBytes) return;
    if (id === keep || inUse().has(id) || now() - usedAtMs < minAgeMs) continue;
    // Under another name first, so that nobody takes half of it for whole.
    const doomed = join(directory, `${TEMPORARY}${randomUUID()}`);
    await rename(join(directory, id), doomed);
    await rm(doomed, { recursive: true, force: true });
    total -= bytes;
  }
}
