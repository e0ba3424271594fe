import { on, once } from 'node:events';
import { Parser, type ReadEntry } from 'tar';
import { invalidImage } from './invalid-image.ts';

export interface TarEntry {
  readonly path: string;
  /** `other`: devices and pipes. */
  readonly type: 'file' | 'folder' | 'link' | 'hard_link' | 'other';
  /** Of links. */
  readonly target: string;
  readonly isExecutable: boolean;
  readonly modifiedAt: Date | undefined;
  /** Of a file; what is not read is passed over. */
  readonly content: AsyncIterable<Uint8Array>;
}

const TYPES: Readonly<Record<string, TarEntry['type']>> = {
  File: 'file',
  OldFile: 'file',
  ContiguousFile: 'file',
  Directory: 'folder',
  SymbolicLink: 'link',
  Link: 'hard_link',
  CharacterDevice: 'other',
  BlockDevice: 'other',
  FIFO: 'other',
};
const EXECUTABLE = 0o100;
/** More than a path and the attributes that file systems keep can take; the parser holds it in memory. */
const MAX_HEADER_BYTES = 1_048_576;

/**
 * The entries of a tar archive, one after the other; all of `source` is read.
 *
 * @throws StepError `invalid_image` for what is no archive, or holds what no image needs; what `source` throws
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const stop = new AbortController();
  const parser = new Parser({ strict: true, maxMetaEntrySize: MAX_HEADER_BYTES });
  // Sparse files of GNU tar, and headers that are too long: leaving them out would make another image.
  parser.on('ignoredEntry', (entry: ReadEntry) =>
    parser.abort(new Error(`an entry of type ${entry.type}, ${entry.size} bytes long, cannot be unpacked`)),
  );
  const entries = on(parser, 'entry', { close: ['end'], signal: stop.signal });
  const feeding = feed(source, parser, stop);
  feeding.catch(() => undefined);
  try {
    for await (const [entry] of entries as AsyncIterable<[ReadEntry]>) {
      yield toEntry(entry);
      entry.resume();
      if (!entry.emittedEnd) await once(entry, 'end', { signal: stop.signal });
    }
    await feeding;
  } catch (raw) {
    // Ended by a failure of the source, which tells more.
    if (stop.signal.aborted) await feeding;
    throw raw instanceof Error && 'tarCode' in raw
      ? invalidImage(`has a layer that is no tar archive: ${raw.message}`, raw)
      : raw;
  } finally {
    stop.abort();
  }
}

async function feed(source: AsyncIterable<Uint8Array>, parser: Parser, stop: AbortController): Promise<void> {
  try {
    for await (const chunk of source) {
      if (stop.signal.aborted) return;
      if (!parser.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))) {
        await once(parser, 'drain', { signal: stop.signal });
      }
    }
    parser.end();
  } catch (error) {
    stop.abort();
    throw error;
  }
}

function toEntry(entry: ReadEntry): TarEntry {
  const type = TYPES[entry.type];
  if (type === undefined) throw invalidImage(`has a layer with an entry of type ${entry.type}`);
  return {
    path: entry.path,
    type,
    target: entry.linkpath ?? '',
    isExecutable: ((entry.mode ?? 0) & EXECUTABLE) !== 0,
    modifiedAt: entry.mtime,
    content: entry,
  };
}
