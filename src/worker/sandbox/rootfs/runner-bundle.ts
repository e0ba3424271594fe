import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { build as esbuild, BuildOptions, Plugin } from 'esbuild';

type Build = typeof esbuild;

/** What this file is written in, the runner is as well: TypeScript here, JavaScript in dist/. */
const EXTENSION = extname(import.meta.filename);
const source = (name: string): string =>
  fileURLToPath(new URL(`../../../runner/${name}${EXTENSION}`, import.meta.url));

/** What is embedded as text: what each `embedded:` import of the runner stands for. */
const EMBEDDED: Readonly<Record<string, (build: Build) => Promise<string>>> = {
  slot: (build) => bundle(build, 'javascript/slot/main', { format: 'esm' }),
  // A script whose value is the function `install`.
  realm: async (build) => {
    const script = await bundle(build, 'javascript/realm/install', {
      format: 'iife',
      globalName: 'realm',
      // It is evaluated for each run: names that stay need no calls that set them again.
      minifyIdentifiers: false,
      keepNames: false,
    });
    return `(() => { ${script}\nreturn realm.install; })()`;
  },
};

/**
 * The JavaScript runner as one ES module for Deno, with the sources of its slots and of their contexts embedded.
 *
 * @throws Error when esbuild is not installed
 */
export async function bundleJavaScriptRunner(): Promise<string> {
  const build = await loadEsbuild();
  return bundle(build, 'javascript/main', { format: 'esm' });
}

/**
 * The relay of runner pods as one ES module for Deno.
 *
 * @throws Error when esbuild is not installed
 */
export async function bundleRelay(): Promise<string> {
  return bundle(await loadEsbuild(), 'pod/main', { format: 'esm' });
}

async function loadEsbuild(): Promise<Build> {
  try {
    return (await import('esbuild')).build;
  } catch (cause) {
    throw new Error('The JavaScript runner is bundled with esbuild, which is not installed. Run `npm ci`.', {
      cause,
    });
  }
}

async function bundle(build: Build, entry: string, options: BuildOptions): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [source(entry)],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'esnext',
    charset: 'utf8',
    legalComments: 'none',
    // Its parse time is part of every start; names of classes are seen by authors.
    minify: true,
    keepNames: true,
    logLevel: 'silent',
    plugins: [embed(build)],
    ...options,
  });
  const [file] = outputFiles ?? [];
  if (file === undefined) throw new Error(`esbuild made nothing of ${entry}`);
  return file.text;
}

const embed = (build: Build): Plugin => ({
  name: 'embed',
  setup(within) {
    within.onResolve({ filter: /^embedded:/ }, ({ path }) => ({ path, namespace: 'embedded' }));
    within.onLoad({ filter: /(?:)/, namespace: 'embedded' }, async ({ path }) => {
      const make = EMBEDDED[path.slice('embedded:'.length)];
      return make === undefined ? undefined : { contents: await make(build), loader: 'text' };
    });
  },
});
