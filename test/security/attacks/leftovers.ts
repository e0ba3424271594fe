import { javascript, python, type Attack } from './attack.ts';

/**
 * Attacks on whoever comes next, in two executions of one file: with `{mode: "leave"}` it leaves all that it can, marked with
 * `marker`; with `{mode: "look"}` it gives doors, each of which is open when something of the kind is there. With
 * `{mode: "both"}` one execution does both, and has to find what it left: else it would find nothing of another's either.
 */
export interface TwoPartAttack extends Pick<Attack, 'language' | 'name' | 'source'> {
  readonly row: 'X14' | 'X15';
  /** How leaving may end. */
  readonly ends: Attack['ends'];
  /** Leaves what lives on by itself: the platform has to end it. */
  readonly isHostile: boolean;
  /**
   * Doors that stay closed even to the execution that leaves it, as nothing can be left there, or another attack does it;
   * undefined: what it leaves ends that execution.
   */
  readonly closed: readonly string[] | undefined;
}

/** Frozen by the runner, or cleared by the runtime. */
const HARDENED: readonly string[] = (
  'URL,Headers,Response,Request,TextEncoder,TextDecoder,AbortController,AbortSignal,EventTarget,Event,Blob,Buffer,' +
  'crypto,ReadableStream,FormData,unsafe buffers,pool size,listeners of events'
).split(',');

const JAVASCRIPT_LEAVE = String.raw`
  globalThis.left = input.marker;
  Object.prototype.left = input.marker;
  Array.prototype.left = input.marker;
  Function.prototype.left = input.marker;
  Promise.prototype.left = input.marker;
  Error.stackTraceLimit = 3;
  Error.prepareStackTrace = () => input.marker;
  JSON.parse = () => input.marker;
  JSON.stringify = ((real) => (...all) => real(...all))(JSON.stringify);
  const quiet = (work) => { try { work(); } catch {} };
  for (const name of ['URL', 'Headers', 'Response', 'Request', 'TextEncoder', 'TextDecoder', 'AbortController', 'AbortSignal', 'EventTarget', 'Event', 'Blob', 'Buffer', 'crypto', 'performance', 'console', 'process', 'WebAssembly', 'Intl', 'structuredClone', 'setTimeout', 'queueMicrotask', 'fetch', 'ReadableStream', 'FormData']) {
    quiet(() => { globalThis[name].left = input.marker; });
    quiet(() => { globalThis[name].prototype.left = input.marker; });
    quiet(() => { Object.getPrototypeOf(globalThis[name]).left = input.marker; });
    quiet(() => { globalThis[name].prototype.toString = () => input.marker; });
  }
  for (const thing of [ctx, ctx.fetch, ctx.log, ctx.log.info, ctx.signal, ctx.secrets, ctx.config, ctx.execution]) {
    quiet(() => { thing.left = input.marker; });
    quiet(() => { Object.getPrototypeOf(thing).left = input.marker; });
    quiet(() => { thing.constructor.left = input.marker; });
  }
  quiet(() => { console.log = () => {}; });
  quiet(() => { process.env.LEFT = input.marker; });
  quiet(() => { process.title = input.marker; });
  quiet(() => { performance.mark(input.marker); });
  quiet(() => { Buffer.from(input.marker.repeat(200)); for (let i = 0; i < 50; i++) Buffer.allocUnsafe(4000).fill(input.marker); });
  quiet(() => { Buffer.poolSize = 12345; });
  for (const name of ['node:events', 'node:util', 'node:path', 'node:buffer', 'node:stream', 'node:async_hooks', 'node:diagnostics_channel', 'node:os', 'node:url', 'node:crypto', 'node:process', 'node:timers']) {
    quiet(() => { const found = modules[name]; found.left = input.marker; found.default.left = input.marker; });
    quiet(() => { for (const value of Object.values(modules[name])) { value.left = input.marker; if (value.prototype) value.prototype.left = input.marker; } });
  }
  quiet(() => { modules['node:events'].defaultMaxListeners = 77; });
  quiet(() => { modules['node:diagnostics_channel'].channel('left').subscribe(() => {}); });
  quiet(() => { process.on('exit', () => {}); process.on('message', () => {}); process.on('uncaughtException', () => {}); });
  kept.push(input.marker);
`;

const JAVASCRIPT_LOOK = String.raw`
  const has = (value) => { try { return value !== undefined && value !== null && value.left !== undefined ? value.left : undefined; } catch { return undefined; } };
  await door('global', () => globalThis.left);
  await door('Object.prototype', () => ({}).left);
  await door('Array.prototype', () => [].left);
  await door('Error', () => (Error.stackTraceLimit === 3 || Error.prepareStackTrace !== undefined ? 'changed' : undefined));
  await door('JSON', () => (JSON.parse('1') === 1 ? undefined : 'changed'));
  await door('module state', () => kept[0]);
  for (const name of ['URL', 'Headers', 'Response', 'Request', 'TextEncoder', 'TextDecoder', 'AbortController', 'AbortSignal', 'EventTarget', 'Event', 'Blob', 'Buffer', 'crypto', 'performance', 'console', 'process', 'WebAssembly', 'Intl', 'structuredClone', 'setTimeout', 'queueMicrotask', 'fetch', 'ReadableStream', 'FormData']) {
    await door(name, () => { const thing = globalThis[name]; return has(thing) ?? has(thing && thing.prototype) ?? has(thing && Object.getPrototypeOf(thing)) ?? (thing && thing.prototype && String(thing.prototype).includes('left-') ? 'patched' : undefined); });
  }
  for (const [name, thing] of Object.entries({ ctx, fetch: ctx.fetch, log: ctx.log, info: ctx.log.info, signal: ctx.signal, secrets: ctx.secrets, config: ctx.config, execution: ctx.execution })) await door('ctx ' + name, () => has(thing) ?? has(thing.constructor));
  await door('environment', () => process.env.LEFT);
  await door('title', () => (process.title.includes('left-') ? process.title : undefined));
  await door('performance entries', () => performance.getEntries().map(({ name }) => name).find((name) => name.includes('left-')));
  await door('unsafe buffers', () => { for (let i = 0; i < 200; i++) if (Buffer.allocUnsafe(4000).toString('latin1').includes('left-') || Buffer.allocUnsafe(20).toString('latin1').includes('left-')) return 'found'; });
  await door('pool size', () => (Buffer.poolSize === 12345 ? 'changed' : undefined));
  for (const [name, found] of Object.entries(modules)) await door(name, () => has(found) ?? has(found.default) ?? Object.values(found).map((value) => has(value) ?? has(value && value.prototype)).find((value) => value !== undefined));
  await door('listeners of events', () => (modules['node:events'].defaultMaxListeners === 77 ? 'changed' : undefined));
  await door('diagnostics', () => (modules['node:diagnostics_channel'].channel('left').hasSubscribers ? 'subscribed' : undefined));
  await door('listeners of process', () => process.listenerCount('uncaughtException') || undefined);
  await door('things that go on', async () => { await new Promise((resolve) => setTimeout(resolve, 300)); return globalThis.left ?? kept[0]; });
`;

/** Marks all that can be reached; takes a second or two. */
const MARK_EVERYTHING = String.raw`
  for (const value of everything(ctx).keys()) {
    try { Object.defineProperty(value, 'left', { value: input.marker, configurable: true, writable: true }); } catch {}
    try { if (value instanceof Map) value.set('left', input.marker); } catch {}
    try { if (value instanceof Set) value.add(input.marker); } catch {}
    try { if (Array.isArray(value)) value.push(input.marker); } catch {}
  }
`;
const LOOK_AT_EVERYTHING = String.raw`
  await door('everything that can be reached', () => {
    const marked = [];
    for (const [value, way] of everything(ctx)) {
      try { if (Object.hasOwn(value, 'left')) marked.push(way); } catch {}
      try { if (value instanceof Map && value.has('left')) marked.push(way + ' (map)'); } catch {}
      try { if (Array.isArray(value) && value.some((one) => String(one).startsWith('left-'))) marked.push(way + ' (list)'); } catch {}
    }
    return marked.length > 0 ? marked.length + ': ' + marked.map((way) => way.replace('node:', '').replace('default.', '')).filter((way, at, all) => all.indexOf(way) === at).join(', ') : undefined;
  }, 5000);
`;

const MODULES = `
import * as buffer from 'node:buffer'; import * as events from 'node:events'; import * as util from 'node:util'; import * as path from 'node:path';
import * as stream from 'node:stream'; import * as asyncHooks from 'node:async_hooks'; import * as diagnostics from 'node:diagnostics_channel';
import * as url from 'node:url'; import * as crypto from 'node:crypto'; import * as timers from 'node:timers'; import * as zlib from 'node:zlib';
import * as assert from 'node:assert'; import * as decoder from 'node:string_decoder'; import * as query from 'node:querystring'; import * as web from 'node:stream/web';
import * as types from 'node:util/types'; import * as streamPromises from 'node:stream/promises'; import * as punycode from 'node:punycode'; import * as os from 'node:os'; import * as processModule from 'node:process';
/** Everything that can be reached, getters included, with the way there. */
const everything = (ctx) => {
  const found = new Map();
  const visit = (value, name, depth) => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || found.has(value) || depth > 7 || found.size > 30000) return;
    if (value === found || value === doors || value === kept) return;
    found.set(value, name);
    let keys = [];
    try { keys = Reflect.ownKeys(value); } catch {}
    try { visit(Object.getPrototypeOf(value), name + '.[[Prototype]]', depth + 1); } catch {}
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return;
    for (const key of keys) {
      let property;
      try { property = Object.getOwnPropertyDescriptor(value, key); } catch {}
      if (!property) continue;
      const way = name + '.' + String(key);
      visit(property.get, way + ' (get)', depth + 1);
      visit(property.set, way + ' (set)', depth + 1);
      try {
        const part = value[key];
        if (part instanceof Promise || (part && typeof part === 'object' && String(part) === '[object Promise]')) part.then(() => {}, () => {});
        visit(part, way, depth + 1);
      } catch {}
    }
  };
  for (const [name, module] of Object.entries(modules)) visit(module, name, 0);
  visit(ctx, 'ctx', 0);
  visit(globalThis, 'globalThis', 0);
  found.delete(found);
  return found;
};
const modules = { 'node:buffer': buffer, 'node:events': events, 'node:util': util, 'node:path': path, 'node:stream': stream, 'node:async_hooks': asyncHooks,
  'node:diagnostics_channel': diagnostics, 'node:url': url, 'node:crypto': crypto, 'node:timers': timers, 'node:zlib': zlib, 'node:assert': assert,
  'node:string_decoder': decoder, 'node:querystring': query, 'node:stream/web': web, 'node:util/types': types, 'node:stream/promises': streamPromises, 'node:punycode': punycode,
  'node:os': os, 'node:process': processModule };
const kept = [];
`;

const PYTHON_BEFORE = String.raw`
import asyncio, atexit, builtins, decimal, gc, json, locale, logging, random, re, resource, subprocess, tempfile, types, warnings
kept = []
`;

const PYTHON_LEAVE = String.raw`
marker = input["marker"]
def quiet(work):
    try: work()
    except BaseException: pass
def write(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file: file.write(marker)
for path in ["/tmp/left", "/tmp/.hidden/left", "/dev/shm/left", "/tmp/sitecustomize.py", "/tmp/usercustomize.py", "/tmp/json.py", "/tmp/.local/lib/python3.11/site-packages/left.pth", "/shared/left", "/runner/left", "/python/left"]:
    quiet(lambda: write(path))
quiet(lambda: os.mkfifo("/tmp/left-fifo"))
quiet(lambda: os.symlink("/etc/passwd", "/tmp/left-link"))
quiet(lambda: os.chmod("/tmp", 0o700))
kept.append(marker)
builtins.left = marker
builtins.print = lambda *a, **k: None
quiet(lambda: setattr(builtins, "__import__", (lambda real: lambda *a, **k: real(*a, **k))(builtins.__import__)))
for module in [json, os, sys, random, socket, logging, time, threading, tempfile]:
    module.left = marker
json.dumps = lambda *a, **k: marker
json.JSONEncoder.left = marker
os.path.join = lambda *a: marker
time.time = lambda: 0
sys.modules["left"] = types.ModuleType("left")
sys.path.insert(0, "/tmp")
sys.path_hooks.insert(0, lambda path: (_ for _ in ()).throw(ImportError()))
class Finder:
    left = marker
    def find_spec(self, *a): return None
sys.meta_path.insert(0, Finder())
sys.excepthook = lambda *a: None
threading.excepthook = lambda *a: None
quiet(lambda: sys.setrecursionlimit(777))
quiet(lambda: sys.setswitchinterval(0.5))
quiet(lambda: sys.set_int_max_str_digits(0))
os.environ["LEFT"] = marker
quiet(lambda: os.chdir("/tmp"))
quiet(lambda: os.umask(0o777))
quiet(lambda: os.nice(5))
quiet(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
quiet(lambda: signal.signal(signal.SIGUSR1, lambda *a: None))
quiet(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]))
quiet(lambda: locale.setlocale(locale.LC_ALL, "C"))
quiet(lambda: socket.setdefaulttimeout(7.25))
quiet(lambda: decimal.getcontext().__setattr__("prec", 3))
quiet(lambda: warnings.simplefilter("error"))
quiet(lambda: logging.getLogger().addHandler(logging.NullHandler()))
quiet(lambda: logging.getLogger().setLevel(77))
quiet(lambda: gc.callbacks.append(lambda *a: None))
quiet(lambda: gc.disable())
quiet(lambda: atexit.register(lambda: write("/tmp/left-atexit")))
quiet(lambda: os.register_at_fork(after_in_child=lambda: write("/tmp/left-fork")))
quiet(lambda: sys.addaudithook(lambda name, arguments: write("/tmp/left-audit") if name == "compile" else None))
quiet(lambda: random.seed(7))
quiet(lambda: tempfile.__setattr__("tempdir", "/dev/shm"))
quiet(lambda: setattr(ctx, "left", marker))
quiet(lambda: setattr(type(ctx), "left", marker))
quiet(lambda: setattr(type(ctx.log), "left", marker))
quiet(lambda: setattr(type(ctx.fetch), "left", marker))
quiet(lambda: call("shmget", 0x1ef7, ctypes.c_size_t(4096), 0o1666))
quiet(lambda: call("semget", 0x1ef7, 1, 0o1666))
quiet(lambda: os.memfd_create("left"))
for number in range(3, 40):
    quiet(lambda: os.set_inheritable(number, True))
`;

const PYTHON_LEAVE_RUNNING = String.raw`
def keep_alive(name):
    libc.prctl(15, b"left", 0, 0, 0)
    while True:
        quiet(lambda: write("/tmp/left-" + name))
        time.sleep(0.02)
def listen():
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0left")
    server.listen()
    kept.append(server)
quiet(listen)
def listen_tcp():
    server = socket.socket()
    server.bind(("127.0.0.1", 4567))
    server.listen()
    kept.append(server)
quiet(listen_tcp)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
        keep_alive("daemon")
    os._exit(0)
for daemon in (True, False):
    threading.Thread(target=keep_alive, args=("thread",), daemon=daemon).start()
def bother():
    while True:
        quiet(lambda: ctx.log.info("bothered by " + marker))
        time.sleep(0.02)
threading.Thread(target=bother, daemon=True).start()
subprocess.Popen([sys.executable, "-c", "import time, ctypes; ctypes.CDLL(None).prctl(15, b'left', 0, 0, 0)\nwhile True:\n time.sleep(0.02)\n try: open('/tmp/left-child', 'w').write('x')\n except OSError: pass"], start_new_session=True)
# Until the daemon has its name and goes on.
for _ in range(500):
    if os.path.exists("/tmp/left-daemon"): break
    time.sleep(0.02)
`;

const PYTHON_LOOK = String.raw`
def files():
    found = []
    for folder in ["/tmp", "/dev/shm", "/shared", "/var/tmp", "/run", "/dev/mqueue"]:
        for where, folders, names in os.walk(folder):
            for name in names + folders:
                path = os.path.join(where, name)
                if "left" in path or name in ("sitecustomize.py", "usercustomize.py", "json.py", ".hidden", ".local", "bomb"): found.append(path)
    return found or None
real_join = __import__("posixpath").join
door("files", files)
door("module state", lambda: kept[0] if kept else None)
door("builtins", lambda: getattr(builtins, "left", None))
door("print", lambda: None if type(builtins.print).__name__ == "builtin_function_or_method" else "patched")
door("import", lambda: None if type(builtins.__import__).__name__ == "builtin_function_or_method" else "patched")
for module in [json, os, sys, random, socket, logging, time, threading, tempfile]:
    door("module " + module.__name__, lambda: getattr(module, "left", None))
door("json", lambda: None if json.dumps([1]) == "[1]" and not hasattr(json.JSONEncoder, "left") else "patched")
door("join", lambda: None if os.path.join("a", "b") == "a/b" else "patched")
door("time", lambda: None if time.time() > 1e9 else "patched")
door("sys.modules", lambda: "left" if "left" in sys.modules else None)
door("sys.path", lambda: "/tmp" if "/tmp" in sys.path else None)
door("finders", lambda: [one for one in sys.meta_path if hasattr(one, "left")] or None)
door("hooks", lambda: None if sys.excepthook is sys.__excepthook__ and threading.excepthook is threading.__excepthook__ else "patched")
door("recursion", lambda: "changed" if sys.getrecursionlimit() == 777 else None)
door("switch interval", lambda: "changed" if sys.getswitchinterval() == 0.5 else None)
door("digits", lambda: "changed" if sys.get_int_max_str_digits() == 0 else None)
door("environment", lambda: os.environ.get("LEFT"))
def umask():
    before = os.umask(0o022)
    os.umask(before)
    return "changed" if before == 0o777 else None
door("umask", umask)
door("folder", lambda: "changed" if os.getcwd() == "/tmp" and input.get("cwd") != "/tmp" else None)
door("nice", lambda: "changed" if os.nice(0) == 5 else None)
door("limits", lambda: "changed" if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64 else None)
door("signal handlers", lambda: None if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL else "changed")
door("signal mask", lambda: "changed" if signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, []) else None)
door("default timeout", lambda: "changed" if socket.getdefaulttimeout() == 7.25 else None)
door("decimal", lambda: "changed" if decimal.getcontext().prec == 3 else None)
door("warnings", lambda: "changed" if warnings.filters and warnings.filters[0][0] == "error" else None)
door("logging", lambda: "changed" if logging.getLogger().level == 77 or any(isinstance(one, logging.NullHandler) for one in logging.getLogger().handlers) else None)
door("collector", lambda: "changed" if not gc.isenabled() and input.get("gc") != "off" else None)
def audit():
    if os.path.exists("/tmp/left-audit"): os.unlink("/tmp/left-audit")
    compile("1", "x", "eval")
    return "hooked" if os.path.exists("/tmp/left-audit") else None
door("audit hook", audit)
def fork():
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
    return "hooked" if os.path.exists("/tmp/left-fork") else None
door("fork hook", fork)
door("random", lambda: "seeded" if random.random() in (0.32383276483316237, 0.15084917392450192, 0.6509344730398537) else None)
door("temporary folder", lambda: "changed" if tempfile.gettempdir() == "/dev/shm" else None)
for name, thing in {"ctx": ctx, "log": ctx.log, "fetch": ctx.fetch}.items():
    door("ctx " + name, lambda: getattr(thing, "left", None) or getattr(type(thing), "left", None))
def segments():
    if libc.shmget(0x1ef7, ctypes.c_size_t(1), 0) != -1: return "shared memory"
    if libc.semget(0x1ef7, 1, 0) != -1: return "semaphores"
door("System V", segments)
door("descriptors", lambda: [name for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name) and "left" in os.readlink("/proc/self/fd/" + name)] or None)
def abstract():
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0.5)
        client.connect("\0left")
        return "connected"
door("listener", abstract)
def tcp():
    with socket.socket() as client:
        client.settimeout(0.5)
        client.connect(("127.0.0.1", 4567))
        return "connected"
door("TCP listener", tcp)
def processes():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if read("/proc/" + pid + "/comm").strip() == "left": found.append(pid)
        except OSError: pass
    return found or None
door("processes", processes)
door("threads", lambda: [one.name for one in threading.enumerate() if one is not threading.current_thread() and "keep_alive" in repr(getattr(one, "_target", None))] or None)
def goes_on():
    for name in ("daemon", "thread", "child"):
        try: os.unlink("/tmp/left-" + name)
        except OSError: pass
    time.sleep(0.3)
    return files()
door("things that go on", goes_on)
`;

const javascriptFile = (leave: string, look: string): string =>
  javascript(
    `if (input.mode !== 'look') {\n${leave}\nif (input.mode === 'leave') return 'left';\n}\n${look}\nreturn doors;`,
    MODULES,
  );

const pythonFile = (leave: string, look: string): string => {
  const indent = (text: string): string =>
    text
      .trim()
      .split('\n')
      .map((line) => `    ${line}`)
      .join('\n');
  return python(
    `if input["mode"] != "look":\n${indent(leave)}\n    if input["mode"] == "leave": return "left"\n${look}\nreturn doors`,
    PYTHON_BEFORE,
  );
};

export const LEFTOVER_ATTACKS: readonly TwoPartAttack[] = [
  {
    row: 'X14',
    language: 'javascript',
    name: 'patched globals, prototypes, modules and buffers are not there for the next execution',
    source: javascriptFile(JAVASCRIPT_LEAVE + MARK_EVERYTHING, JAVASCRIPT_LOOK + LOOK_AT_EVERYTHING),
    ends: ['succeeded'],
    isHostile: false,
    closed: HARDENED,
  },
  {
    row: 'X14',
    language: 'javascript',
    name: 'timers, promises and listeners that go on do nothing in the next execution',
    source: javascriptFile(
      String.raw`${JAVASCRIPT_LEAVE}
const again = () => { globalThis.left = input.marker; kept.push(input.marker); try { ctx.log.info('bothered by ' + input.marker); } catch {} setTimeout(again, 10); };
again();
setInterval(again, 25);
setTimeout(() => Promise.reject(new Error('bothered by ' + input.marker)), 50);
setTimeout(() => { throw new Error('bothered by ' + input.marker); }, 60);
(async () => { for (;;) { await new Promise((resolve) => setTimeout(resolve, 5)); kept.push(input.marker); } })();`,
      JAVASCRIPT_LOOK,
    ),
    ends: ['succeeded', 'code_error'],
    isHostile: true,
    closed: undefined,
  },
  {
    row: 'X14',
    language: 'python',
    name: 'files, patched modules, settings and segments are not there for the next execution',
    source: pythonFile(PYTHON_LEAVE, PYTHON_LOOK),
    ends: ['succeeded', 'code_error', 'invalid_output'],
    isHostile: false,
    // What runs is the next one's.
    closed: ['listener', 'TCP listener', 'processes', 'threads'],
  },
  {
    row: 'X14',
    language: 'python',
    name: 'daemons, threads, children and listeners do not live on into the next execution',
    source: pythonFile(PYTHON_LEAVE + PYTHON_LEAVE_RUNNING, PYTHON_LOOK),
    ends: ['succeeded', 'code_error', 'invalid_output'],
    isHostile: true,
    // A hook does not get that far beside the threads; the one before has it.
    closed: ['fork hook'],
  },
];

/** X15: one tenant leaves it, the next one looks; the very same file and workflow name. */
export const TENANT_ATTACKS: readonly TwoPartAttack[] = [
  {
    row: 'X15',
    language: 'javascript',
    name: 'a tenant’s sandbox never serves another: nothing of it is there',
    source: javascriptFile(JAVASCRIPT_LEAVE, JAVASCRIPT_LOOK),
    ends: ['succeeded', 'code_error'],
    isHostile: true,
    // Modules that only the first marks.
    closed: HARDENED.concat(
      'node:assert,node:string_decoder,node:querystring,node:stream/web,node:util/types,node:stream/promises'.split(
        ',',
      ),
    ),
  },
  {
    row: 'X15',
    language: 'python',
    name: 'a tenant’s sandbox never serves another: nothing is in files, memory, environment or shared memory',
    source: pythonFile(
      PYTHON_LEAVE + PYTHON_LEAVE_RUNNING,
      String.raw`${PYTHON_LOOK}
def memory_of(pid):
    needle = re.compile(rb"left[-]by[-]tenant[-]a")  # so that the search does not find itself
    with open("/proc/%s/mem" % pid, "rb", buffering=0) as memory:
        for line in read("/proc/%s/maps" % pid, 1 << 20).splitlines():
            area, access = line.split()[:2]
            start, end = (int(part, 16) for part in area.split("-"))
            if "r" not in access or end - start > 1 << 28: continue
            try:
                memory.seek(start)
                if needle.search(memory.read(end - start)): return area
            except (OSError, ValueError, OverflowError): continue
door("memory", lambda: memory_of("self"))
door("memory of init", lambda: memory_of("1"))
def environments():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if "left-by" in read("/proc/" + pid + "/environ", 65536): found.append(pid)
        except OSError: pass  # not everybody's can be read
    return found or None
door("environments", environments)
def fresh_memory():
    import mmap
    area = mmap.mmap(-1, 1 << 26)
    return "found" if re.search(rb"left[-]by[-]tenant[-]a", area) else None
door("fresh memory", fresh_memory)
`,
    ),
    ends: ['succeeded', 'code_error', 'invalid_output'],
    isHostile: true,
    // The runner cannot be read, and the kernel clears what it gives.
    closed: ['fork hook', 'memory of init', 'fresh memory'],
  },
];
