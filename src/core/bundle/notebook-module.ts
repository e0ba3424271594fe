import type { Problem } from '../errors/app-error.ts';
import { fileProblem, type SourceFile } from './source-files.ts';

/** A notebook as a Python module, or why it cannot be one. */
export function notebookModule(path: string, _text: string): SourceFile | Problem {
  return fileProblem(path, 'not_supported', 'notebooks cannot be run by this release', 'write a Python step');
}
