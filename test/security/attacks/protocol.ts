import assert from 'node:assert/strict';
import { checkAllDenied, javascript, outputObject, python, type Attack } from './attack.ts';

/** Makes frames as the protocol has them: `frame(header, payload)`. */
const PYTHON_FRAMES = String.raw`
import json, struct
def frame(header, payload=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", 4 + len(head) + len(payload), len(head)) + head + payload
`;

const FORGED = 'forged by an attack';
/** The platform may ignore it, or hold the sandbox for lost; it takes nothing that was forged for a result. */
const IGNORED_OR_LOST: Attack['ends'] = ['succeeded', 'resource_limit', 'sandbox_lost', 'code_error'];

const isHonest: Attack['check'] = ({ state, output }) => {
  assert.ok(
    !JSON.stringify(output ?? null).includes(FORGED),
    `a forged result was taken: ${JSON.stringify(output)}`,
  );
  if (state === 'succeeded') assert.deepEqual(output, { honest: true });
};

/** Sends bytes to every descriptor that is no file, its own and those of init. */
const SEND_EVERYWHERE = String.raw`
def send_everywhere(data):
    sent = []
    for pid in ["self", "1", str(os.getppid())]:
        try: names = os.listdir("/proc/" + pid + "/fd")
        except OSError: continue
        for name in names:
            if pid == "self":
                if int(name) == 2: continue
                try:
                    os.set_blocking(int(name), False)
                    os.write(int(name), data)
                    sent.append(name)
                except (OSError, ValueError): pass
            else:
                try:
                    descriptor = os.open("/proc/" + pid + "/fd/" + name, os.O_WRONLY | os.O_NONBLOCK)
                    os.write(descriptor, data)
                    sent.append(pid + ":" + name)
                except OSError: pass
    return sent
`;

const pythonForgery = (name: string, body: string, ends = IGNORED_OR_LOST): Attack => ({
  row: 'X10',
  language: 'python',
  name,
  source: python(`${body.trim()}\ntime.sleep(0.2)\nreturn {"honest": True}`, PYTHON_FRAMES + SEND_EVERYWHERE),
  ends,
  check: isHonest,
  withinMs: 30_000,
});

export const PROTOCOL_ATTACKS: readonly Attack[] = [
  {
    row: 'X10',
    language: 'javascript',
    name: 'two results, and results after the result, give the first',
    source: javascript(String.raw`
return { then(resolve, reject) { resolve({ honest: true }); resolve({ forged: 'forged by an attack' }); reject(new Error('forged by an attack')); setTimeout(() => resolve({ forged: 'forged by an attack' }), 10); } };
`),
    ends: ['succeeded'],
    check: isHonest,
  },
  ...(
    [
      ['process.exit', 'process.exit(0);'],
      [
        'an error outside of any promise',
        "setTimeout(() => { throw new Error('loose'); }, 0); await new Promise(() => {});",
      ],
      [
        'a rejection that nobody handles',
        "Promise.reject(new Error('loose')); await new Promise((resolve) => setTimeout(resolve, 300)); throw new Error('it went on');",
      ],
      ['an endless recursion', 'const again = (n) => again(n + 1) + again(n + 2); return again(0);'],
    ] as const
  ).map(([name, body]): Attack => ({
    row: 'X10',
    language: 'javascript',
    name: `${name} ends the step as code_error`,
    source: javascript(body),
    keys: () => ({ timeout: '5s' }),
    ends: ['code_error'],
    withinMs: 20_000,
  })),
  pythonForgery(
    'results with guessed nonces, written to every descriptor, are not taken',
    `
import secrets
for nonce in ["0" * 32, "f" * 32] + [secrets.token_hex(16) for _ in range(50)]:
    send_everywhere(frame({"type": "result", "nonce": nonce}, json.dumps({"forged": "${FORGED}"}).encode()))
`,
  ),
  pythonForgery(
    'garbage, a frame of 4 GB and broken headers are not taken',
    `
for data in [b"HTTP/1.1 200 OK\\r\\n\\r\\n", b"\\xff" * 64, frame(b'{"type":'), frame(b"[]"), frame({"type": "ready", "protocol": 1, "runtime": "x", "slots": 16, "kernel": "x"})]:
    send_everywhere(data)
`,
    [...IGNORED_OR_LOST, 'timeout'],
  ),
  pythonForgery(
    'pickles that run code when they are read, sent to every descriptor, give nothing',
    `
import pickle
class Evil:
    def __reduce__(self): return (os._exit, (7,))
data = pickle.dumps(Evil())
send_everywhere(struct.pack(">I", len(data)) + data)
send_everywhere(struct.pack("!i", len(data)) + data)
send_everywhere(data)
`,
    [...IGNORED_OR_LOST, 'timeout'],
  ),
  {
    row: 'X10',
    language: 'python',
    name: 'a forked child that returns, too, gives no second result',
    source: python(String.raw`
child = os.fork()
if child == 0:
    time.sleep(0.05)
    return {"forged": "forged by an attack"}
os.waitpid(child, 0)
return {"honest": True}
`),
    ends: ['succeeded', 'code_error'],
    check: isHonest,
  },
  {
    row: 'X10',
    language: 'python',
    name: 'a forked child that returns first gives no result',
    source: python(String.raw`
if os.fork() == 0: return {"forged": "forged by an attack"}
time.sleep(0.5)
return {"honest": True}
`),
    ends: ['succeeded', 'code_error'],
    check: isHonest,
  },
  {
    row: 'X10',
    language: 'python',
    name: 'no nonce is in the memory, frames or objects of a step, nor in those of the runner that it can read',
    source: python(
      String.raw`
pattern = re.compile(rb'nonce"[^0-9a-f]{1,8}([0-9a-f]{32})')
def scan(pid):
    found = set()
    with open("/proc/%s/mem" % pid, "rb", buffering=0) as memory:
        for line in read("/proc/%s/maps" % pid, 1 << 20).splitlines():
            area, access = line.split()[:2]
            start, end = (int(part, 16) for part in area.split("-"))
            if "r" not in access or end - start > 1 << 28: continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, ValueError, OverflowError): continue
            found.update(match.decode() for match in pattern.findall(data))
    return sorted(found) or None
door("own memory", lambda: scan("self"))
if os.getpid() != 1: door("memory of init", lambda: scan("1"))
if os.getppid() > 1: door("memory of the parent", lambda: scan(os.getppid()))
def objects():
    found = set()
    for one in gc.get_objects():
        try:
            for value in (one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()):
                if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value): found.add(value)
        except Exception: pass
    return sorted(found) or None
door("objects", objects)
def frames():
    found = []
    frame = sys._getframe()
    while frame is not None:
        for name, value in frame.f_locals.items():
            if "nonce" in name.lower() or (isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value)): found.append(name)
        frame = frame.f_back
    return found or None
door("frames", frames)
return doors
`,
      'import gc, re',
    ),
    keys: () => ({ timeout: '60s' }),
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 60_000,
  },
  ...(
    [
      ['sys.exit', 'sys.exit(0)', ['code_error']],
      ['os._exit', 'os._exit(0)', ['code_error']],
      ['os.abort', 'os.abort()', ['code_error']],
      ['a segmentation fault', 'ctypes.string_at(0)', ['code_error']],
      ['SIGKILL to itself', 'os.kill(os.getpid(), signal.SIGKILL)', ['code_error']],
      ['KeyboardInterrupt', 'raise KeyboardInterrupt()', ['code_error']],
      ['GeneratorExit', 'raise GeneratorExit()', ['code_error']],
      ['an endless recursion', 'def again(n): return again(n + 1)\nreturn again(0)', ['code_error']],
      [
        'an endless recursion in C',
        'sys.setrecursionlimit(10 ** 9)\ndef again(n): return [again(n + 1) for _ in (1,)]\nreturn again(0)',
        ['code_error', 'out_of_memory'],
      ],
      [
        'exec of another program',
        'os.execv(sys.executable, [sys.executable, "-c", "print(1)"])',
        ['code_error'],
      ],
    ] as const satisfies readonly (readonly [string, string, Attack['ends']])[]
  ).map(([name, body, ends]): Attack => ({
    row: 'X10',
    language: 'python',
    name: `${name} ends the step as ${ends[0]}`,
    source: python(body),
    keys: () => ({ timeout: '60s' }),
    ends,
    withinMs: 70_000,
  })),
  {
    row: 'X10',
    language: 'python',
    name: 'killing the runner is no way to a result',
    source: python(String.raw`
for pid in {1, os.getppid()}:
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV):
        try: os.kill(pid, number)
        except OSError: pass
time.sleep(1)
return {"honest": True}
`),
    keys: () => ({ timeout: '10s' }),
    ends: ['resource_limit', 'sandbox_lost', 'succeeded', 'timeout'],
    check: isHonest,
    withinMs: 40_000,
  },
  {
    row: 'X10',
    language: 'python',
    name: 'ctx shows nothing of the runner, and changing it changes nothing for others',
    source: python(String.raw`
seen = {}
for name in dir(ctx):
    try: seen[name] = type(getattr(ctx, name)).__name__
    except Exception as error: seen[name] = "error"
for name in list(seen):
    if not name.startswith("__"):
        try: setattr(ctx, name, "forged by an attack")
        except Exception: pass
return seen
`),
    ends: ['succeeded'],
    check({ output }) {
      const names = Object.keys(outputObject(output)).filter((name) => !name.startsWith('_'));
      const allowed =
        /^(fetch|secrets|config|log|signal|idempotency_?[kK]ey|execution|workflow|step|TerminalError|RetryableError|cancelled|is_cancelled)$/;
      assert.deepEqual(
        names.filter((name) => !allowed.test(name)),
        [],
      );
    },
  },
];
