import type { Writable } from 'node:stream';

/** Resolves when more may be written, or when the stream is gone, which is for others to notice. */
export async function writeFully(stream: Writable, bytes: Uint8Array): Promise<void> {
  if (stream.destroyed || stream.write(bytes)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
