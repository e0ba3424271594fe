import { randomBytes } from 'node:crypto';
import { link, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCodeOf } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';
import { identify } from './process-identity.ts';

export interface LockOwner {
  readonly pid: number;
  /** See ProcessIdentity; tells a later process with the same id apart. */
  readonly start: string | undefined;
  readonly since: string;
}

export interface Lock {
  release(): Promise<void>;
}

const TAKEOVER_STALE_MS = 10_000;
const TAKEOVER_ATTEMPTS = 400;

/**
 * Claims `directory` for this process. A lock whose owner is gone is taken over; of several that try at once, one gets
 * it: a stale lock is removed only by who holds `lock.takeover`.
 *
 * @throws CliError that names the running owner
 */
export async function acquireLock(directory: string): Promise<Lock> {
  const file = join(directory, 'lock');
  const mine = await ownIdentity();
  for (let attempt = 0; attempt < TAKEOVER_ATTEMPTS; attempt++) {
    if (await create(file, mine)) return { release: () => release(file, mine) };
    const owner = await readOwner(file);
    if (owner && (await isRunning(owner))) throw inUse(directory, owner);
    await removeStale(file);
  }
  throw new CliError(`The lock ${file} cannot be taken over; if no Millrace runs there, remove it.`);
}

/** The process that holds `directory` now, if one does. */
export async function lockOwner(directory: string): Promise<LockOwner | undefined> {
  const owner = await readOwner(join(directory, 'lock'));
  return owner && (await isRunning(owner)) ? owner : undefined;
}

async function ownIdentity(): Promise<LockOwner> {
  const start = (await identify(process.pid))?.start;
  return { pid: process.pid, start, since: new Date().toISOString() };
}

async function create(file: string, owner: LockOwner): Promise<boolean> {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await writeFile(draft, `${JSON.stringify(owner)}\n`, { mode: 0o644 });
  try {
    await link(draft, file); // unlike `open(…, 'wx')`, it appears with its content
    return true;
  } catch (raw) {
    if (errorCodeOf(raw) === 'EEXIST') return false;
    throw raw;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Undefined: there is no lock. Null: there is one that names nobody. */
async function readOwner(file: string): Promise<LockOwner | null | undefined> {
  try {
    return parseOwner(await readFile(file, 'utf8')) ?? null;
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENOENT') return undefined;
    throw raw;
  }
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    const value = JSON.parse(text) as Partial<LockOwner> | null;
    if (!Number.isInteger(value?.pid)) return undefined;
    return { pid: value!.pid!, start: value?.start, since: String(value?.since) }; // just checked
  } catch {
    return undefined; // emptied by a power cut: nobody's
  }
}

async function isRunning(owner: LockOwner | null): Promise<boolean> {
  if (owner === null) return false;
  const found = await identify(owner.pid);
  if (found === undefined) return false;
  return found.start === undefined || owner.start === undefined || found.start === owner.start;
}

async function removeStale(file: string): Promise<void> {
  const takeover = `${file}.takeover`;
  try {
    await writeFile(takeover, '', { flag: 'wx' });
  } catch (raw) {
    if (errorCodeOf(raw) !== 'EEXIST') throw raw;
    // Held for milliseconds, so an old one was left by a crash in between.
    const age = await stat(takeover).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    );
    if (age > TAKEOVER_STALE_MS) await rm(takeover, { force: true });
    else await delay(50);
    return;
  }
  try {
    const owner = await readOwner(file);
    // A lock that is missing was removed by another who took over, and the next one there may be somebody's: only what
    // was read here, and what nobody else may remove meanwhile, is removed.
    if (owner !== undefined && !(await isRunning(owner))) await rm(file, { force: true });
  } finally {
    await rm(takeover, { force: true });
  }
}

async function release(file: string, mine: LockOwner): Promise<void> {
  const owner = await readOwner(file);
  if (owner?.pid === mine.pid && owner.start === mine.start) await rm(file, { force: true });
}

function inUse(directory: string, owner: LockOwner): CliError {
  return new CliError(
    `Millrace already runs on ${directory} (process ${owner.pid}, since ${owner.since}). ` +
      'Stop that one, or start another with its own MILLRACE_DATA_DIR, API_PORT and WORKER_PORT.',
  );
}
