import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Actor, Stage } from './stage.ts';

/** The workers that wait for the ledger's answer at a path now, once for each request. */
export async function callersOf(stage: Stage, path: RegExp): Promise<readonly Actor[]> {
  const ports = new Set(stage.ledger.callers(path));
  const found: Actor[] = [];
  for (const worker of stage.workers) {
    const sockets = await socketsOf(worker.process.pid);
    for (const { port, inode } of await connectionsSeenBy(worker.process.pid)) {
      if (ports.has(port) && sockets.has(inode)) found.push(worker);
    }
  }
  return found;
}

async function socketsOf(pid: number): Promise<ReadonlySet<string>> {
  const folder = `/proc/${pid}/fd`;
  const links = await Promise.all(
    (await readdir(folder).catch(() => [])).map((fd) => readlink(`${folder}/${fd}`).catch(() => '')),
  );
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
}

/** @see proc_pid_net(5): the second field is the local address, the tenth the inode */
async function connectionsSeenBy(
  pid: number,
): Promise<readonly { readonly port: number; readonly inode: string }[]> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8').catch(() => '')),
  );
  return tables
    .flatMap((table) => table.split('\n').slice(1))
    .flatMap((line) => {
      const [, local = '', , , , , , , , inode = ''] = line.trim().split(/\s+/);
      const port = Number.parseInt(local.split(':')[1] ?? '', 16);
      return Number.isNaN(port) ? [] : [{ port, inode }];
    });
}
