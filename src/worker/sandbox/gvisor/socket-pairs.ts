import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import type { Stdio } from './containers.ts';

export interface SocketPairs {
  /** Two connected Unix sockets, each a stream in both directions. */
  readonly open: () => Promise<readonly [Socket, Socket]>;
  close(): void;
}

/** Node has no socketpair(2): a socket in a folder of our own, to which only this process connects, one at a time. */
export async function openSocketPairs(folder: string): Promise<SocketPairs> {
  const server: Server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  // Relative, for an absolute path may be longer than the 107 bytes that a socket's may have.
  process.chdir(folder);
  server.listen({ path: 'channel', readableAll: false, writableAll: false });
  await once(server, 'listening');
  let last: Promise<unknown> = Promise.resolve();
  const connect = async (): Promise<readonly [Socket, Socket]> => {
    const accepted = once(server, 'connection') as Promise<[Socket]>; // what the event carries
    const mine = createConnection({ path: 'channel', allowHalfOpen: true });
    const [[theirs]] = await Promise.all([accepted, once(mine, 'connect')]);
    return [theirs, mine];
  };
  return {
    open: () => {
      const pair = last.then(connect);
      last = pair.catch(() => undefined);
      return pair;
    },
    close: () => void server.close(),
  };
}

export interface Channel {
  /** For the worker. */
  readonly outer: Stdio;
  /** For the container. */
  readonly inner: Stdio;
}

export async function openChannel(pairs: SocketPairs): Promise<Channel> {
  const [outerStdin, innerStdin] = await pairs.open();
  const [outerStdout, innerStdout] = await pairs.open();
  return {
    outer: { stdin: outerStdin, stdout: outerStdout },
    inner: { stdin: innerStdin, stdout: innerStdout },
  };
}
