import { isFilePath, MAX_FILE_PATH_LENGTH } from '../definition/file-path.ts';
import { formatPath } from '../definition/findings.ts';
import type { Problem } from '../errors/app-error.ts';
import { isRecord, type JsonObject } from '../json.ts';
import { BUNDLE_LIMITS } from './limits.ts';

/** A file that was deployed with a workflow. */
export interface SourceFile {
  readonly bytes: Uint8Array;
  /** Undefined for a file that is no UTF-8 text. */
  readonly text: string | undefined;
}
export type SourceFiles = ReadonlyMap<string, SourceFile>;

/** What the command line made of a step on the author's machine lies below this; authors' own files may not. */
export const RESERVED_FOLDER = '.millrace/';
export const WHEEL_FOLDER = 'wheels/';

/** A problem with a file as a whole, or at a place in it. */
export const fileProblem = (
  file: string,
  code: string,
  message: string,
  fix: string,
  position: { readonly line?: number; readonly column?: number } = {},
): Problem => ({ path: formatPath(['files', file]), ...position, code, message, fix });

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Decodes the files of a deployment. A path or content that cannot be one is a problem, and left out. */
export function readSourceFiles(files: JsonObject): {
  readonly files: SourceFiles;
  readonly problems: readonly Problem[];
} {
  const read = new Map<string, SourceFile>();
  const problems: Problem[] = [];
  const entries = Object.entries(files);
  if (entries.length > BUNDLE_LIMITS.files) {
    const message = `there are ${entries.length} files; at most ${BUNDLE_LIMITS.files} are allowed`;
    return { files: read, problems: [{ path: 'files', code: 'too_large', message, fix: 'send fewer' }] };
  }
  for (const [path, content] of entries) {
    const file = decodeFile(content);
    if (!isFilePath(path)) {
      const message = `this is no path of a file: it must be relative, plain and of at most ${MAX_FILE_PATH_LENGTH} characters`;
      problems.push(fileProblem(path, 'invalid_value', message, 'name it as `steps/score.ts` is named'));
    } else if (file === undefined) {
      const message = 'must be the text of the file, or {"base64": "…"}';
      problems.push(fileProblem(path, 'invalid_value', message, 'send its text'));
    } else read.set(path, file);
  }
  return { files: read, problems };
}

function decodeFile(content: unknown): SourceFile | undefined {
  if (typeof content === 'string') return { bytes: Buffer.from(content, 'utf8'), text: content };
  if (!isRecord(content) || typeof content.base64 !== 'string') return undefined;
  const bytes = Buffer.from(content.base64, 'base64');
  return {
    bytes,
    get text() {
      try {
        return decoder.decode(bytes);
      } catch {
        return undefined;
      }
    },
  };
}
