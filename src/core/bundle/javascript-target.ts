/**
 * What bundles of steps are made for: the contexts of the JavaScript runner (src/runner/README.md). Whoever bundles with
 * esbuild, native or wasm, takes its options from here, so that bundle and runner agree; a test bundles and runs popular
 * packages with them.
 */

/** Modules of Node that a step can use. */
export const USABLE_BUILTINS = [
  'assert',
  'assert/strict',
  'async_hooks',
  'buffer',
  'console',
  'crypto',
  'diagnostics_channel',
  'events',
  'os',
  'path',
  'path/posix',
  'path/win32',
  'perf_hooks',
  'process',
  'punycode',
  'querystring',
  'stream',
  'stream/consumers',
  'stream/promises',
  'stream/web',
  'string_decoder',
  'sys',
  'timers',
  'timers/promises',
  'url',
  'util',
  'util/types',
  'zlib',
] as const;

/**
 * Modules of Node that can be imported, as packages do for functions that nobody calls here; a call of one says what is
 * missing. In an author's own file such an import is a mistake that can be told when it is deployed.
 */
export const IMPORTABLE_BUILTINS = [
  'child_process',
  'cluster',
  'dgram',
  'dns',
  'dns/promises',
  'domain',
  'fs',
  'fs/promises',
  'http',
  'http2',
  'https',
  'inspector',
  'inspector/promises',
  'module',
  'net',
  'readline',
  'readline/promises',
  'repl',
  'sqlite',
  'tls',
  'trace_events',
  'tty',
  'v8',
  'vm',
  'wasi',
  'worker_threads',
] as const;

const builtins = [...USABLE_BUILTINS, ...IMPORTABLE_BUILTINS];

/** Options of esbuild. */
export const JAVASCRIPT_BUILD_OPTIONS = {
  bundle: true,
  format: 'cjs',
  // Packages that have a build for browsers or workers use `fetch` in it; the one for Node would open sockets.
  platform: 'browser',
  conditions: ['worker', 'browser', 'module', 'import', 'default'],
  mainFields: ['browser', 'module', 'main'],
  // V8 knows all of it; decorators, which it does not, are compiled.
  target: 'es2024',
  // `import('node:crypto')` becomes a `require` that waits: scripts of a context have no module loader.
  supported: { 'dynamic-import': false },
  external: builtins.flatMap((name) => [name, `node:${name}`]),
  define: {
    // The author's code asks, and nothing of ours does.
    [['process', 'env', 'NODE_ENV'].join('.')]: '"production"',
    'import.meta.url': '"file:///step.js"',
    'import.meta.dirname': '"/"',
    'import.meta.filename': '"/step.js"',
    'import.meta.main': 'false',
  },
  // Errors and classes are known by their names.
  keepNames: true,
  charset: 'utf8',
  legalComments: 'none',
} as const;
