/**
 * How imports between the files of a workflow are resolved. Nothing here touches a file system: the paths that exist are
 * given. It runs in the bundler's own process, so it imports nothing.
 */

/** Extensions that an import may leave out, in the order in which they are tried. */
const IMPLIED = ['.ts', '.tsx', '.mts', '.cts', '.js', '.jsx', '.mjs', '.cjs', '.json'] as const;
/** TypeScript names the file that will be; what is there is its source. */
const SOURCES_OF: Readonly<Record<string, readonly string[]>> = {
  '.js': ['.ts', '.tsx'],
  '.jsx': ['.tsx'],
  '.mjs': ['.mts'],
  '.cjs': ['.cts'],
};

export const LOADERS = {
  '.ts': 'ts',
  '.tsx': 'tsx',
  '.mts': 'ts',
  '.cts': 'ts',
  '.js': 'js',
  '.jsx': 'jsx',
  '.mjs': 'js',
  '.cjs': 'js',
  '.json': 'json',
  '.txt': 'text',
} as const;
export type Loader = (typeof LOADERS)[keyof typeof LOADERS];

const extensionOf = (path: string): string => /\.[^./]+$/.exec(path)?.[0] ?? '';

/** How a file is read; undefined for one that JavaScript cannot import. */
export const loaderOf = (path: string): Loader | undefined =>
  (LOADERS as Readonly<Record<string, Loader>>)[extensionOf(path)];

export type Resolution =
  | { readonly type: 'file'; readonly path: string }
  /** A module of Node; `name` without `node:`. */
  | { readonly type: 'builtin'; readonly name: string }
  | { readonly type: 'package' }
  | { readonly type: 'url' }
  /** A path that leaves the workflow's folder. */
  | { readonly type: 'outside' }
  /** A path that names no file. */
  | { readonly type: 'missing'; readonly path: string };

export interface ResolveContext {
  readonly hasFile: (path: string) => boolean;
  /** Of every module that Node has, without `node:`. */
  readonly isBuiltin: (name: string) => boolean;
}

/** Resolves an import that `importer` (a path of a file) writes as `specifier`. */
export function resolveImport(context: ResolveContext, importer: string, specifier: string): Resolution {
  if (/^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..') {
    const path = joinPath(importer, specifier);
    if (path === undefined) return { type: 'outside' };
    const found = candidates(path).find(context.hasFile);
    return found === undefined ? { type: 'missing', path } : { type: 'file', path: found };
  }
  if (specifier.startsWith('node:')) return { type: 'builtin', name: specifier.slice('node:'.length) };
  if (/^[a-z][a-z0-9+.-]*:/i.test(specifier)) return { type: 'url' };
  return context.isBuiltin(specifier) ? { type: 'builtin', name: specifier } : { type: 'package' };
}

/** `specifier` relative to the folder of `importer`; undefined when that is above the workflow, or absolute. */
function joinPath(importer: string, specifier: string): string | undefined {
  if (specifier.startsWith('/')) return undefined;
  const segments = importer.split('/').slice(0, -1);
  for (const segment of specifier.split('/')) {
    if (segment === '..') {
      if (segments.pop() === undefined) return undefined;
    } else if (segment !== '.' && segment !== '') segments.push(segment);
  }
  return segments.join('/');
}

function* candidates(path: string): Generator<string> {
  if (path !== '') {
    yield path;
    const extension = extensionOf(path);
    for (const source of SOURCES_OF[extension] ?? []) yield path.slice(0, -extension.length) + source;
    for (const implied of IMPLIED) yield path + implied;
  }
  const folder = path === '' ? '' : `${path}/`;
  for (const implied of IMPLIED) yield `${folder}index${implied}`;
}
