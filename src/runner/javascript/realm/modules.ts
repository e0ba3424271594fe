import { createDiagnosticsChannel } from './diagnostics-channel.ts';
import { UnresolvedImportError } from './errors.ts';
import type { Host } from './host.ts';
import { createHttp, type HttpParts } from './http.ts';
import { refusedModule } from './refused.ts';
import type { Timers } from './timers.ts';

export interface ModuleParts {
  readonly host: Host;
  readonly process: () => object;
  readonly timers: Timers;
  readonly performance: () => object;
  readonly console: () => object;
  readonly fetch: HttpParts['fetch'];
}

const NETWORK = 'it has no network. Use `ctx.fetch`, or the global `fetch`, which go through the broker.';
const FILES = 'it has no files. Put what the step needs into its code or its input.';
const PROCESSES = 'it starts no processes and threads.';
const CODE = 'it is of no use there.';

/** Modules that can be imported, but whose functions are not there; why. */
const REFUSED: Readonly<Record<string, string>> = {
  child_process: PROCESSES,
  cluster: PROCESSES,
  dgram: NETWORK,
  dns: NETWORK,
  'dns/promises': NETWORK,
  domain: CODE,
  fs: FILES,
  'fs/promises': FILES,
  http: NETWORK,
  http2: NETWORK,
  https: NETWORK,
  inspector: CODE,
  'inspector/promises': CODE,
  module: CODE,
  net: NETWORK,
  readline: 'it has no terminal.',
  'readline/promises': 'it has no terminal.',
  repl: 'it has no terminal.',
  sqlite: FILES,
  tls: NETWORK,
  trace_events: CODE,
  tty: 'it has no terminal.',
  v8: CODE,
  vm: CODE,
  wasi: PROCESSES,
  worker_threads: PROCESSES,
};

type Require = (specifier: string) => unknown;

/** `require` for what bundles leave out: the modules of Node. */
export function createRequire(parts: ModuleParts): Require {
  const made = new Map<string, unknown>();
  const makers: Readonly<Record<string, () => unknown>> = {
    ...ofThisRun(parts),
    ...stubs(parts, (specifier) => require(specifier)),
  };
  const require: Require = (specifier) => {
    const name = specifier.replace(/^node:/, '');
    if (Object.hasOwn(parts.host.modules, name)) return parts.host.modules[name];
    if (made.has(name)) return made.get(name);
    if (!Object.hasOwn(makers, name)) throw unresolved(name, specifier);
    const module = makers[name]?.();
    made.set(name, module);
    return module;
  };
  return require;
}

function unresolved(name: string, specifier: string): UnresolvedImportError {
  const remedy = /^[./]/.test(name)
    ? 'Files are bundled when the workflow is deployed; a name that is put together while the code runs cannot be.'
    : 'It is neither a module of Node that sandboxes have, nor was it bundled: run `npm install` and deploy with `millrace deploy`.';
  return new UnresolvedImportError(`\`${specifier}\` cannot be imported. ${remedy}`);
}

/** Modules with state, made anew for each run. */
const ofThisRun = ({ host, process, timers, performance, console }: ModuleParts) => ({
  process,
  timers: () => ({ ...timers.callbacks, promises: timers.promises }),
  'timers/promises': () => timers.promises,
  perf_hooks: () => ({ performance: performance(), constants: {} }),
  console,
  diagnostics_channel: createDiagnosticsChannel,
  os: createOs,
  sys: () => host.modules.util,
});

function stubs({ host, fetch }: ModuleParts, require: Require): Readonly<Record<string, () => unknown>> {
  const { stream, events } = host.modules as unknown as Omit<HttpParts, 'fetch'>;
  const clientParts = (): HttpParts => ({ stream, events, fetch });
  const known: Readonly<Record<string, () => object>> = {
    http: () => createHttp('http:', clientParts()),
    https: () => createHttp('https:', clientParts()),
    module: () => ({ createRequire: () => require, builtinModules: builtinNames(host) }),
    net: () => ({ isIP, isIPv4, isIPv6 }),
    tty: () => ({ isatty: () => false }),
    worker_threads: () => ({ isMainThread: true, parentPort: null, workerData: null, threadId: 0 }),
  };
  return Object.fromEntries(
    Object.entries(REFUSED).map(([name, reason]) => [
      name,
      () => refusedModule(name, reason, known[name]?.() ?? {}),
    ]),
  );
}

const builtinNames = (host: Host): string[] =>
  [...Object.keys(host.modules), ...Object.keys(REFUSED)].toSorted((a, b) => (a < b ? -1 : 1));

const isIPv4 = (text: string): boolean =>
  /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.|$)){4}$/.test(text) && !text.endsWith('.');

function isIPv6(text: string): boolean {
  try {
    return /^[\da-f:.]+$/i.test(text) && new URL(`http://[${text}]/`).hostname !== '';
  } catch {
    return false;
  }
}

const isIP = (text: string): 0 | 4 | 6 => (isIPv4(text) ? 4 : isIPv6(text) ? 6 : 0);

/** `node:os`, of a machine that tells nothing. */
const createOs = () => ({
  EOL: '\n',
  devNull: '/dev/null',
  constants: { signals: {}, errno: {}, priority: {} },
  arch: () => 'x64',
  availableParallelism: () => 1,
  cpus: () => [],
  endianness: () => 'LE',
  freemem: () => 0,
  homedir: () => '/tmp',
  hostname: () => 'sandbox',
  loadavg: () => [0, 0, 0],
  machine: () => 'x86_64',
  networkInterfaces: () => ({}),
  platform: () => 'linux',
  release: () => '',
  tmpdir: () => '/tmp',
  totalmem: () => 0,
  type: () => 'Linux',
  uptime: () => 0,
  userInfo: () => ({ username: 'sandbox', uid: 65_532, gid: 65_532, shell: null, homedir: '/tmp' }),
  version: () => '',
});
