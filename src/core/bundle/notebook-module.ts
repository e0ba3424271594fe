import type { Problem } from '../errors/app-error.ts';
import { notebookProgram } from './notebook.ts';
import { fileProblem, type SourceFile } from './source-files.ts';

/** A notebook as a Python module, or all that keeps it from being one. */
export function notebookModule(
  path: string,
  { text }: SourceFile,
): SourceFile | { readonly problems: readonly Problem[] } {
  if (text === undefined) {
    return { problems: [fileProblem(path, 'invalid_notebook', 'it is not UTF-8 text', 'save it as UTF-8')] };
  }
  const made = notebookProgram(text, path);
  if (!made.ok) return { problems: made.problems };
  return { bytes: Buffer.from(made.source), text: made.source };
}
