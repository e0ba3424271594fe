import type { CodeLanguage } from './types.ts';

/** Paths of files that are deployed with a workflow. */

export const MAX_FILE_PATH_LENGTH = 255;

const SEGMENT = String.raw`(?!\.{1,2}(?:/|$))[^/\\:\x00-\x1f\x7f]+`;
const RELATIVE_PATH = new RegExp(`^${SEGMENT}(?:/${SEGMENT})*$`);

/** Relative, with `/` between its parts, none of which leads elsewhere. */
export const isFilePath = (path: string): boolean =>
  path.length <= MAX_FILE_PATH_LENGTH && RELATIVE_PATH.test(path);

const LANGUAGES: Readonly<Record<string, CodeLanguage>> = {
  ts: 'typescript',
  mts: 'typescript',
  cts: 'typescript',
  tsx: 'typescript',
  js: 'javascript',
  mjs: 'javascript',
  cjs: 'javascript',
  jsx: 'javascript',
  py: 'python',
};
export const CODE_EXTENSIONS: readonly string[] = Object.keys(LANGUAGES);
export const NOTEBOOK_EXTENSIONS: readonly string[] = ['ipynb'];

/** What `code` and `notebook` take, as their JSON Schema says it. */
export const filePathPattern = (extensions: readonly string[]): RegExp =>
  new RegExp(`^(?:${SEGMENT}/)*${SEGMENT}(?<=[^/]\\.(?:${extensions.join('|')}))$`);

export const extensionOf = (path: string): string | undefined => /[^/]\.([^./]+)$/.exec(path)?.[1];

/** The language that a step's file is written in, by its name; undefined when it is none that steps are written in. */
export function languageOf(path: string): CodeLanguage | undefined {
  const extension = extensionOf(path);
  return extension !== undefined && Object.hasOwn(LANGUAGES, extension) ? LANGUAGES[extension] : undefined;
}

export interface PathProblem {
  /** Continues a sentence that starts with the key. */
  readonly what: string;
  readonly fix: string;
}

/** What keeps a text from being the path of a file with one of these extensions; undefined: nothing. */
export function filePathProblem(
  text: string,
  extensions: readonly string[],
  example: string,
): PathProblem | undefined {
  const write = `write a path such as \`${example}\``;
  if (/[\r\n]/.test(text))
    return { what: 'must be the path of a file, not its text', fix: `save the text as a file, and ${write}` };
  if (text.includes('${{')) return { what: 'must be a path, which holds no `${{ }}`', fix: write };
  if (text.includes('\\'))
    return {
      what: 'must have `/` between its parts, not a backslash',
      fix: suggest(text.replaceAll('\\', '/'), write),
    };
  if (/^(?:[/~]|[A-Za-z][A-Za-z0-9+.-]*:)/.test(text)) {
    return { what: 'must be relative to the folder of the workflow', fix: write };
  }
  const parts = text.split('/');
  if (parts.includes('..')) {
    return {
      what: 'must stay within the folder of the workflow, so it takes no `..`',
      fix: `move the file there, and ${write}`,
    };
  }
  if (parts.includes('.') || parts.includes('')) {
    const plain = parts.filter((part) => part !== '' && part !== '.').join('/');
    return { what: 'must be a plain path, without `./` or `//`', fix: suggest(plain, write) };
  }
  if (!isFilePath(text)) {
    return {
      what: `must be a path of at most ${MAX_FILE_PATH_LENGTH} characters without colons and control characters`,
      fix: write,
    };
  }
  if (!extensions.includes(extensionOf(text) ?? '')) {
    const endings = extensions.map((extension) => `.${extension}`).join(', ');
    return { what: `must end in ${extensions.length === 1 ? '' : 'one of '}${endings}`, fix: write };
  }
  return undefined;
}

const suggest = (path: string, otherwise: string): string =>
  isFilePath(path) ? `write \`${path}\`` : otherwise;
