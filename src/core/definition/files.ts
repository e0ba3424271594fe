import { CODE_EXTENSIONS, extensionOf, isFilePath, languageOf, NOTEBOOK_EXTENSIONS } from './file-path.ts';
import { collectFindings, type Finding, type Path } from './findings.ts';
import { outlineOf, type Outline, type OutlinedStep } from './outline.ts';
import { nearest } from './suggest.ts';
import type { CodeLanguage } from './types.ts';

/** A step whose work is a file of the author's. */
export interface FileUse {
  /** Of the file, as it was deployed. */
  readonly path: string;
  readonly kind: 'code' | 'notebook';
  readonly language: CodeLanguage;
  readonly stepId: string;
  /** Where the document says so. */
  readonly at: Path;
}

/** The files that the steps of a document run, in its order; the document may be wrong in places. */
export const filesOf = (document: unknown): readonly FileUse[] => filesOfOutline(outlineOf(document));

export const filesOfOutline = ({ steps }: Pick<Outline, 'steps'>): readonly FileUse[] =>
  steps.flatMap(fileOfStep);

function fileOfStep({ id, path, raw, kind }: OutlinedStep): readonly FileUse[] {
  if (kind !== 'code' && kind !== 'notebook') return [];
  const file = raw[kind];
  if (typeof file !== 'string' || !isFilePath(file)) return [];
  const extensions = kind === 'code' ? CODE_EXTENSIONS : NOTEBOOK_EXTENSIONS;
  if (!extensions.includes(extensionOf(file) ?? '')) return [];
  const language = languageOf(file) ?? 'python';
  return [{ path: file, kind, language, stepId: id, at: [...path, kind] }];
}

/** To find what was meant costs a comparison with each of them. */
const MAX_COMPARED = 200;
const MAX_SUGGESTIONS = 20;

/** Files that steps run and that were not deployed along. */
export function fileFindings(outline: Outline, files: ReadonlySet<string> | undefined): readonly Finding[] {
  if (files === undefined) return [];
  const unknown = filesOfOutline(outline).filter(({ path }) => !files.has(path));
  const candidates = [...files].slice(0, MAX_COMPARED);
  return collectFindings(unknown.entries(), ([index, { path, at }]) => [
    {
      path: at,
      code: 'unknown_file',
      message: `no file \`${path}\` was deployed with the workflow`,
      fix: fixOf(index < MAX_SUGGESTIONS ? nearPath(path, candidates) : undefined),
    },
  ]);
}

const fixOf = (near: string | undefined): string =>
  near === undefined
    ? 'save the workflow with `millrace deploy`, which sends the files beside it, or add it under `files`'
    : `did you mean \`${near}\`? \`millrace deploy\` sends the files beside the workflow`;

const basename = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** One of the same name in another folder, else the nearest in spelling. */
const nearPath = (path: string, candidates: readonly string[]): string | undefined =>
  candidates.find((candidate) => basename(candidate) === basename(path)) ?? nearest(path, candidates);
