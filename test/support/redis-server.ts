import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import type { IssuedCertificate } from '../../src/worker/sandbox/kubernetes/x509.ts';
import { freePort } from './free-port.ts';
import { removeDirectory } from './remove-directory.ts';

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Writes what it holds now to a file that another one can start from. */
  snapshot(file: string): Promise<void>;
  /** Kills it at once, as a crash would. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface RedisServerOptions {
  /** The port of a server that was killed, to come back at the same address. */
  readonly port?: number;
  readonly maxmemoryPolicy?: string;
  /** What it holds at first: a file that `snapshot` wrote. */
  readonly snapshot?: string;
  /** It speaks nothing but TLS then, as `localhost`. */
  readonly tls?: IssuedCertificate;
}

const SNAPSHOT = 'dump.rdb';

/** Starts a redis-server of our own on 127.0.0.1; its data goes with it. */
export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-redis-'));
  if (options.snapshot !== undefined) await copyFile(options.snapshot, join(directory, SNAPSHOT));
  const port = options.port ?? (await freePort());
  const args = [
    ...(options.tls === undefined
      ? ['--port', String(port)]
      : await tlsArguments(directory, port, options.tls)),
    '--bind',
    '127.0.0.1',
    '--dir',
    directory,
    '--dbfilename',
    SNAPSHOT,
    '--save',
    '',
    '--appendonly',
    'no',
  ];
  args.push('--maxmemory-policy', options.maxmemoryPolicy ?? 'noeviction');
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await once(child, 'spawn').catch((raw: unknown) => {
    throw new Error(
      'The tests need redis-server, which is not installed. Run `scripts/setup-test-machine`, or `apt-get install redis-server` (macOS: `brew install redis`).',
      { cause: raw },
    );
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
    await removeDirectory(directory);
  };
  const url = options.tls === undefined ? `redis://127.0.0.1:${port}` : `rediss://localhost:${port}`;
  const trust = options.tls === undefined ? {} : { tls: { ca: options.tls.authority } };
  if (!(await answers(url, trust, () => child.exitCode !== null))) {
    await end('SIGKILL');
    throw new Error(`redis-server did not start:\n${output}`);
  }
  return {
    url,
    port,
    pid: child.pid!,
    async snapshot(file) {
      const client = new Redis(url, trust);
      await client.save();
      client.disconnect();
      await copyFile(join(directory, SNAPSHOT), file);
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  };
}

async function tlsArguments(
  directory: string,
  port: number,
  { certificate, key }: IssuedCertificate,
): Promise<readonly string[]> {
  const files = { cert: join(directory, 'certificate.pem'), key: join(directory, 'key.pem') };
  await writeFile(files.cert, certificate);
  await writeFile(files.key, key, { mode: 0o600 });
  return [
    '--port',
    '0',
    '--tls-port',
    String(port),
    '--tls-auth-clients',
    'no',
    '--tls-cert-file',
    files.cert,
    '--tls-key-file',
    files.key,
  ];
}

async function answers(url: string, trust: RedisOptions, hasEnded: () => boolean): Promise<boolean> {
  const client = new Redis(url, {
    ...trust,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  client.on('error', () => undefined);
  try {
    for (let waitedMs = 0; waitedMs < 10_000 && !hasEnded(); waitedMs += 20) {
      try {
        await client.connect();
        return (await client.ping()) === 'PONG';
      } catch {
        await delay(20);
      }
    }
    return false;
  } finally {
    client.disconnect();
  }
}
