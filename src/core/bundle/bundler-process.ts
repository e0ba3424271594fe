/**
 * The process that bundles: esbuild as WebAssembly, with no right to read but its own files, no environment, and memory
 * limits (docs/decisions/0005-bundling.md). What authors wrote is parsed here, and never run.
 */
import { readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { build, initialize, Plugin } from 'esbuild-wasm';
import { bundleStep, filesPlugin, type BundleResult, type JavascriptTarget } from './esbuild.ts';

export interface BundleRequest {
  readonly entry: string;
  /** All that can be imported, path → text. */
  readonly files: ReadonlyMap<string, string>;
  readonly target: JavascriptTarget;
}

export type BundlerMessage =
  { readonly type: 'ready' } | { readonly type: 'result'; readonly result: BundleResult };

/** TypeScript has it among what browsers have. */
const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: { compile(bytes: Uint8Array): Promise<WebAssembly.Module> };
};

/** esbuild's WebAssembly finds this in place of the global scope: what Go needs, and no way to files or the network. */
const NARROW_SCOPE = {
  Array,
  Date,
  Error,
  Object,
  Reflect,
  TextDecoder,
  TextEncoder,
  Uint8Array,
  WebAssembly: wasm,
  clearTimeout,
  crypto: { getRandomValues: (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes) },
  performance: { now: () => performance.now() },
  setTimeout,
};

interface Esbuild {
  readonly build: typeof build;
  readonly initialize: typeof initialize;
}

const say = (message: BundlerMessage): void => void process.send?.(message);

async function startEsbuild(library: string, binary: string): Promise<Esbuild> {
  Object.assign(globalThis, { self: NARROW_SCOPE });
  const esbuild = (await import(library)) as Esbuild;
  const wasmModule = await wasm.compile(await readFile(fileURLToPath(binary)));
  await esbuild.initialize({ wasmModule, worker: false });
  say({ type: 'ready' });
  return esbuild;
}

const [library = '', binary = ''] = process.argv.slice(2);
const started = startEsbuild(library, binary);

const bundle = async ({ entry, files, target }: BundleRequest): Promise<BundleResult> => {
  const esbuild = await started;
  const plugin: Plugin = filesPlugin(files, target, isBuiltin);
  return bundleStep((options) => esbuild.build(options), { entry, root: '/', target, plugins: [plugin] });
};

process.on('message', (request: BundleRequest) => {
  bundle(request).then(
    (result) => say({ type: 'result', result }),
    // Not about what was bundled: the one who asked sees that it ended, and what it said.
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`, () => process.exit(1));
    },
  );
});
process.on('disconnect', () => process.exit(0));
