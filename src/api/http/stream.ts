import { once } from 'node:events';
import type { Response } from 'express';

/** A response that is written bit by bit for as long as its reader stays. */
export interface OpenStream {
  /** Resolves when there is room for more; false when the reader is gone. */
  write(text: string): Promise<boolean>;
  /** The reader is slower than what is written; better leave something out. */
  readonly isFull: () => boolean;
}

/** Sends the head. Proxies are asked not to hold anything back. */
export function openStream(res: Response, contentType: string): OpenStream {
  res.writeHead(200, {
    'content-type': contentType,
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  res.flushHeaders();
  return {
    async write(text) {
      if (res.destroyed || res.writableEnded) return false;
      if (res.write(text)) return true;
      const gone = new AbortController();
      const abort = (): void => gone.abort();
      res.once('close', abort);
      try {
        await once(res, 'drain', { signal: gone.signal });
        return true;
      } catch {
        return false;
      } finally {
        res.off('close', abort);
      }
    },
    isFull: () => res.writableNeedDrain,
  };
}
