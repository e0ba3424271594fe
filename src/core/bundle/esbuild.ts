import type { BuildOptions, BuildResult, Location, Message, Metafile, Plugin } from 'esbuild-wasm';
import { loaderOf, resolveImport, type ResolveContext } from './resolve.ts';

// It runs in the bundler's own process, too: imports of files beside it alone.

/** What bundles are made for; plain data, so that it can cross between processes. */
export interface JavascriptTarget {
  /** Of esbuild; see javascript-target.ts. */
  readonly options: TargetOptions;
  /** Modules of Node that an author's files may import, without `node:`. */
  readonly builtins: readonly string[];
}

type ReadonlyOption<T> = T extends readonly (infer E)[] ? readonly E[] : Readonly<T>;
export type TargetOptions = {
  readonly [K in keyof BuildOptions]?: ReadonlyOption<BuildOptions[K]>;
};

/** A problem found while bundling, as data, so that it can cross between processes. */
export interface BundleFault {
  readonly code: 'syntax_error' | 'unresolved_import' | 'forbidden_import' | 'missing_export';
  readonly message: string;
  /** What an import said. */
  readonly specifier?: string;
  readonly reason?: 'package' | 'missing' | 'outside' | 'url' | 'loader';
  readonly file?: string;
  /** 1-based. */
  readonly line?: number;
  readonly column?: number;
}

export type BundleWarning = Pick<BundleFault, 'message' | 'file' | 'line' | 'column'>;

export type BundleResult =
  | {
      readonly ok: true;
      /** One CommonJS script whose `exports.default` is the step's function. */
      readonly code: string;
      /** Source map (version 3), without the sources' text. */
      readonly map: string;
      /** Files that went into it; those of packages, too, where there are any. */
      readonly inputs: readonly string[];
      /** What they import, as they write it, without modules of Node. */
      readonly specifiers: ReadonlySet<string>;
      /** What esbuild finds odd in the author's own files. */
      readonly warnings: readonly BundleWarning[];
    }
  | { readonly ok: false; readonly faults: readonly BundleFault[] };

type Build = (options: BuildOptions) => Promise<BuildResult>;

/** The name of the script that imports a step's file; never one of an author's. */
const WRAPPER = '<step>';
const DETAIL = 'millrace';
const MAX_FAULTS = 50;

interface FaultDetail {
  readonly [DETAIL]: Pick<BundleFault, 'code' | 'specifier' | 'reason'>;
}

/**
 * Bundles the step whose file is `entry`.
 *
 * @param root absolute folder that `entry` and all paths of the result are relative to
 */
export async function bundleStep(
  build: Build,
  input: {
    readonly entry: string;
    readonly root: string;
    readonly target: JavascriptTarget;
    readonly plugins: readonly Plugin[];
  },
): Promise<BundleResult> {
  const { entry, root, target, plugins } = input;
  try {
    const {
      outputFiles = [],
      metafile,
      warnings,
    } = await build({
      ...(target.options as BuildOptions), // it changes nothing that it is given
      stdin: {
        // A file without a default export is an error here, at build time.
        contents: `export { default } from ${JSON.stringify(`./${entry}`)};`,
        sourcefile: WRAPPER,
        resolveDir: root,
        loader: 'js',
      },
      absWorkingDir: root,
      outfile: `${root === '/' ? '' : root}/step.js`,
      write: false,
      sourcemap: 'external',
      sourcesContent: false,
      metafile: true,
      logLevel: 'silent',
      plugins: [...plugins],
    });
    const inputs = metafile?.inputs ?? {};
    // Neither ES module nor CommonJS: it exports nothing, and esbuild would take that for an empty `module.exports`.
    const entryPath = inputs[WRAPPER]?.imports[0]?.path ?? entry; // another one where it is a symbolic link
    if (inputs[entryPath]?.format === undefined) return { ok: false, faults: [noDefaultExport(entry)] };
    return {
      ok: true,
      code: textOf(outputFiles, '.js'),
      map: textOf(outputFiles, '.map'),
      inputs: Object.keys(inputs).filter((path) => path !== WRAPPER),
      specifiers: specifiersOf(inputs),
      warnings: warnings.filter(isOfAuthor).slice(0, MAX_FAULTS).map(toWarning),
    };
  } catch (raw) {
    if (!isBuildFailure(raw)) throw raw;
    return { ok: false, faults: raw.errors.slice(0, MAX_FAULTS).map((message) => toFault(message, entry)) };
  }
}

const specifiersOf = (inputs: Metafile['inputs']): ReadonlySet<string> =>
  new Set(
    Object.values(inputs).flatMap(({ imports }) =>
      imports.flatMap(({ original, external }) => (external || original === undefined ? [] : [original])),
    ),
  );

const textOf = (files: NonNullable<BuildResult['outputFiles']>, extension: string): string =>
  files.find(({ path }) => path.endsWith(extension))?.text ?? '';

const isBuildFailure = (raw: unknown): raw is { readonly errors: readonly Message[] } =>
  raw instanceof Error && 'errors' in raw && Array.isArray(raw.errors);

function toFault({ text, location, detail }: Message, entry: string): BundleFault {
  // What is said about the wrapper is meant for the file that it imports.
  if (location?.file === WRAPPER && text.startsWith('No matching export')) return noDefaultExport(entry);
  const place = location === null ? { file: entry } : placeOf(location);
  if (isOurs(detail)) return { ...detail[DETAIL], message: text, ...place };
  const unresolved = /^Could not resolve "(.+)"/.exec(text)?.[1];
  if (unresolved === undefined) return { code: 'syntax_error', message: text, ...place };
  const message = `\`${unresolved}\` was not found`;
  return { code: 'unresolved_import', message, specifier: unresolved, ...place };
}

const noDefaultExport = (file: string): BundleFault => ({
  code: 'missing_export',
  message: 'there is no default export',
  file,
});

const isOfAuthor = ({ location }: Message): boolean =>
  location !== null && location.file !== WRAPPER && !location.file.includes('node_modules/');

const toWarning = ({ text, location }: Message): BundleWarning => ({
  message: text,
  ...(location !== null && placeOf(location)),
});

const placeOf = ({ file, line, column, lineText }: Location) => ({
  file,
  line,
  column: columnOf(lineText, column),
});

/** esbuild counts bytes from 0; people count characters from 1. */
const columnOf = (lineText: string, byteColumn: number): number =>
  Buffer.from(lineText).subarray(0, byteColumn).toString().length + 1;

const isOurs = (detail: unknown): detail is FaultDetail =>
  typeof detail === 'object' && detail !== null && DETAIL in detail;

const fault = (text: string, detail: FaultDetail[typeof DETAIL]) => ({
  errors: [{ text, detail: { [DETAIL]: detail } satisfies FaultDetail }],
});

/** What an import that names a module of Node resolves to. */
function resolveBuiltin(name: string, target: JavascriptTarget) {
  if (target.builtins.includes(name)) return { path: `node:${name}`, external: true };
  return fault(`\`node:${name}\` cannot be imported here`, { code: 'forbidden_import', specifier: name });
}

/**
 * Lets the author's files import the modules of Node that the runner offers, and no other. Packages may name any, as the
 * target says: many do for what is never called, and the runner refuses the call.
 */
export const builtinsPlugin = (target: JavascriptTarget, isBuiltin: (name: string) => boolean): Plugin => ({
  name: 'millrace-builtins',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, importer }) => {
      const name = path.startsWith('node:') ? path.slice('node:'.length) : path;
      const isOfPackage = /[\\/]node_modules[\\/]/.test(importer);
      if (isOfPackage || !(path.startsWith('node:') || isBuiltin(name))) return undefined;
      return resolveBuiltin(name, target);
    });
  },
});

/** Resolves and loads everything from `files` (path → text), below `/`; nothing else is ever looked at. */
export const filesPlugin = (
  files: ReadonlyMap<string, string>,
  target: JavascriptTarget,
  isBuiltin: (name: string) => boolean,
): Plugin => ({
  name: 'millrace-files',
  setup(build) {
    const context: ResolveContext = { hasFile: (path) => files.has(path), isBuiltin };
    build.onResolve({ filter: /(?:)/ }, ({ path: specifier, importer }) => {
      const resolution = resolveImport(context, importer.replace(/^\//, ''), specifier);
      const detail = { code: 'unresolved_import', specifier } as const;
      switch (resolution.type) {
        case 'file':
          if (loaderOf(resolution.path) === undefined) {
            return fault(`\`${specifier}\` cannot be imported by JavaScript`, {
              ...detail,
              reason: 'loader',
            });
          }
          return { path: `/${resolution.path}` };
        case 'builtin':
          return resolveBuiltin(resolution.name, target);
        case 'package':
          return fault(`the package \`${specifier}\` was not uploaded`, { ...detail, reason: 'package' });
        case 'url':
          return fault(`\`${specifier}\` is a URL`, { ...detail, reason: 'url' });
        case 'outside':
          return fault(`\`${specifier}\` leaves the workflow's folder`, { ...detail, reason: 'outside' });
        case 'missing':
          return fault(`no file \`${resolution.path}\` was uploaded`, { ...detail, reason: 'missing' });
        default:
          return resolution satisfies never;
      }
    });
    build.onLoad({ filter: /(?:)/ }, ({ path }) => {
      const file = path.replace(/^\//, '');
      return { contents: files.get(file) ?? '', loader: loaderOf(file) ?? 'js' };
    });
  },
});
