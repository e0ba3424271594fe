import type { Readable } from 'node:stream';

const KEPT_BYTES = 2048;

/** Reads all that comes, so that the writer never waits, and keeps the end of it. */
export function keepTail(stderr: Readable | null): () => string {
  let tail = Buffer.alloc(0);
  stderr?.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-KEPT_BYTES);
  });
  stderr?.on('error', () => undefined);
  return () => tail.toString('utf8').trim();
}

/** How a process ended, for the log. */
export function describeEnd(code: number | null, signal: NodeJS.Signals | null, stderr: string): string {
  const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
  return stderr === '' ? how : `${how}; ${stderr}`;
}
