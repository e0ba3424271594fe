import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { fromBuffer, type Entry, type ZipFile } from 'yauzl';
import { BUNDLE_LIMITS, mebibytes } from './limits.ts';

/** The archive is damaged, hostile or too large; the message says which. */
export class WheelArchiveError extends Error {
  override readonly name = 'WheelArchiveError';
}

export interface WheelEntry {
  /** Where it goes below the folder that Python imports from. */
  readonly path: string;
  readonly bytes: number;
  /** Inflates it; a size other than `bytes` is an error of the stream. */
  readonly open: () => Promise<Readable>;
}

/** How much several wheels may hold together. */
export interface UnpackBudget {
  bytes: number;
  files: number;
}

export const newUnpackBudget = (): UnpackBudget => ({
  bytes: BUNDLE_LIMITS.unpackedBytes,
  files: BUNDLE_LIMITS.unpackedFiles,
});

const FILE_TYPE_MASK = 0o170000;
const SYMLINK = 0o120000;
const MAX_PATH_LENGTH = 512;
/** What of a wheel's `*.data` folder is imported; scripts, headers and data files are not. */
const DATA = /^[^/]+\.data\/([^/]+)\/(.+)$/;
const IMPORTED_DATA = new Set(['purelib', 'platlib']);

const openArchive = promisify(
  (bytes: Buffer, callback: (error: Error | null, archive: ZipFile) => void): void =>
    fromBuffer(bytes, { lazyEntries: true, validateEntrySizes: true, strictFileNames: true }, callback),
);

/**
 * The files of a wheel that Python imports, from its central directory. Nothing is inflated before an entry is opened.
 *
 * @param budget is used up; a wheel that needs more is refused
 * @throws WheelArchiveError
 */
export async function* readWheel(bytes: Uint8Array, budget: UnpackBudget): AsyncGenerator<WheelEntry> {
  const archive = await openArchive(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).catch(
    (raw: unknown) => {
      throw new WheelArchiveError('it is no zip archive', { cause: raw });
    },
  );
  for await (const entry of entriesOf(archive)) {
    const path = importedPath(entry);
    if (path === undefined) continue;
    budget.files -= 1;
    budget.bytes -= entry.uncompressedSize;
    if (budget.files < 0) {
      throw new WheelArchiveError(`unpacked there are more than ${BUNDLE_LIMITS.unpackedFiles} files`);
    }
    if (budget.bytes < 0) {
      throw new WheelArchiveError(`unpacked there are more than ${mebibytes(BUNDLE_LIMITS.unpackedBytes)}`);
    }
    yield {
      path,
      bytes: entry.uncompressedSize,
      open: () => promisify(archive.openReadStream.bind(archive) as OpenReadStream)(entry),
    };
  }
}

type OpenReadStream = (entry: Entry, callback: (error: Error | null, stream: Readable) => void) => void;

async function* entriesOf(archive: ZipFile): AsyncGenerator<Entry> {
  for (let read = 0; read < archive.entryCount; read++) {
    yield await new Promise<Entry>((resolve, reject) => {
      const fail = (error: Error): void => {
        archive.removeAllListeners();
        reject(new WheelArchiveError(`its directory cannot be read: ${error.message}`));
      };
      archive.once('error', fail);
      archive.once('end', () => fail(new Error('it ends early')));
      archive.once('entry', (entry: Entry) => {
        archive.removeAllListeners();
        resolve(entry);
      });
      archive.readEntry();
    });
  }
}

/** @returns undefined for folders and for what is not imported */
function importedPath(entry: Entry): string | undefined {
  const name = entry.fileName;
  if (name.endsWith('/')) return undefined;
  // yauzl has refused absolute paths, `..` and backslashes already.
  const isStrange =
    name.length > MAX_PATH_LENGTH ||
    name.split('/').some((part) => part === '' || part === '.' || part === '..');
  // oxlint-disable-next-line no-control-regex
  if (isStrange || /[\x00-\x1f\x7f\\]/.test(name)) {
    throw new WheelArchiveError(`it holds a file with the path ${JSON.stringify(name.slice(0, 80))}`);
  }
  if (((entry.externalFileAttributes >>> 16) & FILE_TYPE_MASK) === SYMLINK) {
    throw new WheelArchiveError(`it holds a symbolic link, ${JSON.stringify(name.slice(0, 80))}`);
  }
  if (entry.isEncrypted()) throw new WheelArchiveError('it is encrypted');
  const data = DATA.exec(name);
  if (data === null) return name;
  return IMPORTED_DATA.has(data[1] ?? '') ? data[2] : undefined;
}
