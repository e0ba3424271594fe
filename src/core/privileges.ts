import { constants } from 'node:fs';
import { access, chown, mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCodeOf } from './errors/app-error.ts';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

export interface PrivilegePaths {
  /** Files and folders that must stay readable: the program's own, node_modules. */
  readonly readable: readonly string[];
  /** Folders that must become writable; made where missing, and given to the identity. What is in them is left alone. */
  readonly writable: readonly string[];
}

export interface PrivilegeOutcome {
  readonly isDropped: boolean;
  /** What was done, or why it was not, for the log. */
  readonly description: string;
}

const WANTED = { read: 0o4, write: 0o2, pass: 0o1 } as const;

/**
 * Gives up root for good: groups, then group, then user. Before, it makes sure that everything needed afterwards can be
 * reached, and keeps root when it cannot; afterwards, that root cannot be had again.
 *
 * Only modes count in the check before, not access control lists. Child processes that run already keep their privileges.
 *
 * @throws Error when the process is in an unclear state afterwards, and must not go on
 */
export async function dropPrivileges(identity: Identity, paths: PrivilegePaths): Promise<PrivilegeOutcome> {
  const { uid, gid } = identity;
  if (!isUnprivilegedId(uid) || !isUnprivilegedId(gid)) {
    throw new RangeError(`uid and gid must be from 1 to 4294967294, got ${uid} and ${gid}`);
  }
  if (process.getuid?.() !== 0) {
    return { isDropped: false, description: 'nothing to drop: the process is not root' };
  }
  const obstacles = await prepare(identity, paths);
  if (obstacles.length > 0) {
    return { isDropped: false, description: `root was kept: uid ${uid} cannot ${obstacles.join(', nor ')}` };
  }
  process.setgroups?.([gid]);
  process.setgid?.(gid);
  process.setuid?.(uid);
  await verify(identity, paths);
  return { isDropped: true, description: `root was dropped for good: uid ${uid}, gid ${gid}` };
}

const isUnprivilegedId = (id: number): boolean => Number.isInteger(id) && id > 0 && id < 4_294_967_295;

async function prepare(identity: Identity, paths: PrivilegePaths): Promise<readonly string[]> {
  const obstacles: string[] = [];
  for (const path of paths.readable) obstacles.push(...(await obstaclesTo(identity, path)));
  for (const path of paths.writable) {
    await mkdir(path, { recursive: true });
    obstacles.push(...(await obstaclesAbove(identity, await realpath(path))));
  }
  // Only when it is certain that root will be dropped.
  if (obstacles.length === 0) {
    for (const path of paths.writable) obstacles.push(...(await obstaclesToGiving(path, identity)));
  }
  return [...new Set(obstacles)];
}

/** Root without CAP_CHOWN, and any file system that knows no owners, refuse it; nothing has been given up by then. */
async function obstaclesToGiving(path: string, { uid, gid }: Identity): Promise<readonly string[]> {
  try {
    await chown(path, uid, gid);
    return [];
  } catch (raw) {
    return [`be given ${path} (${errorCodeOf(raw) ?? String(raw)}; it takes CAP_CHOWN)`];
  }
}

async function obstaclesTo(identity: Identity, path: string): Promise<readonly string[]> {
  const real = await realpath(path);
  const found = await stat(real);
  const wanted = WANTED.read | (found.isDirectory() ? WANTED.pass : 0);
  const above = await obstaclesAbove(identity, real);
  return mayAccess(identity, found, wanted) ? above : [...above, `read ${real}`];
}

async function obstaclesAbove(identity: Identity, path: string): Promise<readonly string[]> {
  const folder = dirname(path);
  if (folder === path) return [];
  const above = await obstaclesAbove(identity, folder);
  return mayAccess(identity, await stat(folder), WANTED.pass) ? above : [...above, `pass ${folder}`];
}

/** As the kernel decides: the first of owner, group and others that fits, alone. */
function mayAccess(
  identity: Identity,
  found: { readonly uid: number; readonly gid: number; readonly mode: number },
  wanted: number,
): boolean {
  const shift = found.uid === identity.uid ? 6 : found.gid === identity.gid ? 3 : 0;
  return ((found.mode >> shift) & wanted) === wanted;
}

async function verify({ uid, gid }: Identity, paths: PrivilegePaths): Promise<void> {
  const ids = [process.getuid?.(), process.geteuid?.()];
  const groups = [process.getgid?.(), process.getegid?.(), ...(process.getgroups?.() ?? [])];
  if (ids.some((id) => id !== uid) || groups.some((id) => id !== gid)) {
    throw new Error(`dropping root failed: users ${ids.join(', ')}, groups ${groups.join(', ')}`);
  }
  for (const regain of [() => process.setuid?.(0), () => process.setgid?.(0)]) {
    if (!isRefused(regain)) throw new Error('dropping root failed: it could be regained');
  }
  const held = await heldCapabilities();
  if (held !== '') throw new Error(`dropping root failed: capabilities are left (${held})`);
  await Promise.all([
    ...paths.readable.map((path) => access(path, constants.R_OK)),
    ...paths.writable.map((path) => access(path, constants.R_OK | constants.W_OK | constants.X_OK)),
  ]);
}

function isRefused(regain: () => void): boolean {
  try {
    regain();
    return false;
  } catch (raw) {
    return errorCodeOf(raw) === 'EPERM';
  }
}

/** Capabilities that are effective, permitted or ambient (proc(5), status), or an empty text. */
async function heldCapabilities(): Promise<string> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  return [...status.matchAll(/^Cap(?:Eff|Prm|Amb):\s*([0-9a-f]+)$/gm)]
    .filter(([, set]) => BigInt(`0x${set}`) !== 0n)
    .map(([line]) => line)
    .join(' ');
}
