import assert from 'node:assert/strict';
import type { JsonValue } from '../../../src/core/json.ts';
import { javascript, python, type Attack, type Seen } from './attack.ts';

const MIB = 1_048_576;
/** Of an attempt's log: what is kept, with what the lines about the rest need. */
const MAX_LOG_BYTES = MIB + 131_072;

const logBytes = ({ logs }: Seen): number =>
  logs.reduce((sum, { message }) => sum + Buffer.byteLength(message), 0);

function checkCapped(seen: Seen): void {
  assert.ok(logBytes(seen) <= MAX_LOG_BYTES, `${logBytes(seen)} bytes of log were kept`);
  assert.ok(
    seen.logs.some(({ truncated, message }) => truncated === true || /\d+ more characters/.test(message)),
    'no line says that something was left out',
  );
}

/** The first thing and the last one that were said are there. */
function checkHeadAndTail(seen: Seen): void {
  checkCapped(seen);
  const text = seen.logs.map(({ message }) => message);
  assert.ok(
    text.some((message) => message.includes('the head')),
    'the head is missing',
  );
  assert.ok(
    text.some((message) => message.includes('the tail')),
    'the tail is missing',
  );
}

const OUTPUT = {
  row: 'X08',
  keys: () => ({ timeout: '60s' }),
  ends: ['succeeded'],
} as const satisfies Partial<Attack>;

/** X08: floods of output. */
export const FLOOD_ATTACKS: readonly Attack[] = [
  {
    ...OUTPUT,
    language: 'javascript',
    name: '1 GB of console output is capped with head and tail kept',
    source: javascript(String.raw`
console.log('the head');
const line = 'x'.repeat(65536);
for (let i = 0; i < 16384; i++) console.log(line);
console.log('the tail');
`),
    check: checkHeadAndTail,
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'javascript',
    name: 'a flood of empty and tiny lines is capped',
    source: javascript(String.raw`
console.log('the head');
for (let i = 0; i < 500000; i++) console.log(i % 2 ? '' : 'y');
console.log('the tail');
`),
    check(seen) {
      checkHeadAndTail(seen);
      assert.ok(seen.logs.length < 50_000, `${seen.logs.length} lines were kept`);
    },
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'javascript',
    name: 'a line of 100 MB is capped',
    source: javascript(String.raw`
console.log('the head');
console.log('z'.repeat(100 * 1024 * 1024));
console.log('the tail');
`),
    ends: ['succeeded', 'out_of_memory'],
    check(seen) {
      if (seen.state === 'succeeded') checkHeadAndTail(seen);
      else assert.ok(logBytes(seen) <= MAX_LOG_BYTES);
    },
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'javascript',
    name: 'what is logged after the result, and by ctx.log in a loop that is cut off, is capped',
    source: javascript(String.raw`
console.log('the head');
const line = 'w'.repeat(10000);
for (;;) ctx.log.warn(line, { line });
`),
    keys: () => ({ timeout: '3s' }),
    ends: ['timeout', 'out_of_memory'],
    check: checkCapped,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'javascript',
    name: 'ANSI, control characters and odd values are recorded as text',
    source: javascript(String.raw`
console.log('\u001b[2J\u001b[31mred\u001b]0;title\u0007', '\u0000\u202e<script>alert(1)</script>');
console.log({ toString() { throw new Error('no'); }, get secret() { throw new Error('no'); }, [Symbol.toStringTag]: 'x' });
console.log(new Proxy({}, { get() { throw new Error('no'); }, ownKeys() { throw new Error('no'); } }));
console.log('\ud800 half');
const ring = {}; ring.ring = ring; console.log(ring, 10n, Symbol('s'), () => {}, new Map([[1, ring]]));
console.log(Object.create(null), Object.assign(() => {}, { inspect() { throw 1; } }));
`),
    check({ logs }) {
      const text = logs.map(({ message }) => message).join('\n');
      assert.ok(text.includes('<script>alert(1)</script>'));
      assert.ok(logs.length >= 6, `${logs.length} lines`);
    },
  },
  {
    ...OUTPUT,
    language: 'python',
    name: '1 GB of print is capped with head and tail kept',
    source: python(String.raw`
print("the head")
line = "x" * 65536
for _ in range(16384): print(line)
print("the tail")
`),
    check: checkHeadAndTail,
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'python',
    name: 'a flood written to descriptors 1 and 2, by children too, is capped',
    source: python(String.raw`
print("the head", flush=True)
block = b"y" * 65535 + b"\n"
def flood(descriptor):
    for _ in range(2048):
        try: os.write(descriptor, block)
        except OSError: return
child = os.fork()
if child == 0:
    flood(1)
    os._exit(0)
flood(1); flood(2)
os.waitpid(child, 0)
print("the tail", flush=True)
`),
    check: checkCapped,
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'python',
    name: 'a line of 100 MB without an end is capped',
    source: python(String.raw`
print("the head")
sys.stdout.write("z" * (100 << 20))
sys.stdout.flush()
print()
print("the tail")
`),
    ends: ['succeeded', 'out_of_memory'],
    check(seen) {
      if (seen.state === 'succeeded') checkHeadAndTail(seen);
      else assert.ok(logBytes(seen) <= MAX_LOG_BYTES);
    },
    withinMs: 60_000,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'python',
    name: 'a loop of ctx.log that is cut off is capped',
    source: python(String.raw`
line = "w" * 10_000
while True: ctx.log.warn(line)
`),
    keys: () => ({ timeout: '3s' }),
    ends: ['timeout'],
    check: checkCapped,
    heavy: true,
  },
  {
    ...OUTPUT,
    language: 'python',
    name: 'ANSI, bytes that are no text and odd values are recorded as text',
    source: python(String.raw`
class Odd:
    def __repr__(self): raise ValueError("no")
    def __str__(self): raise ValueError("no")
print("\x1b[2J\x1b[31mred\x1b]0;title\x07", "\x00\u202e<script>alert(1)</script>")
for work in (lambda: print(Odd()), lambda: print("\ud800 half"), lambda: ctx.log.info(Odd()), lambda: os.write(1, b"\xff\xfe\x80\n")):
    try: work()
    except Exception: pass
sys.stderr.write("to stderr\n")
`),
    check({ logs }) {
      const text = logs.map(({ message }) => message).join('\n');
      assert.ok(text.includes('<script>alert(1)</script>'));
      assert.ok(text.includes('to stderr'));
    },
  },
];

const RESULT = { row: 'X09' } as const satisfies Partial<Attack>;

const result = (
  language: 'javascript' | 'python',
  name: string,
  body: string,
  ends: Attack['ends'],
  check?: (output: JsonValue) => void,
): Attack => ({
  ...RESULT,
  language,
  name,
  source: (language === 'javascript' ? javascript : python)(body),
  ends,
  ...(check === undefined
    ? {}
    : {
        check: (seen) => {
          if (seen.state === 'succeeded') check(seen.output);
        },
      }),
});

const BAD: Attack['ends'] = ['invalid_output', 'code_error'];

const isUnpolluted = (): void => {
  for (const key of ['polluted', 'x', 'isAdmin'])
    assert.equal(({} as Record<string, unknown>)[key], undefined);
};

/** X09: results that are none. */
export const RESULT_ATTACKS: readonly Attack[] = [
  result(
    'javascript',
    'a cyclic result is invalid_output',
    'const ring = {}; ring.ring = ring; return ring;',
    BAD,
  ),
  result('javascript', 'a BigInt is invalid_output', 'return { n: 10n };', BAD),
  result(
    'javascript',
    'a toJSON that throws fails the step',
    "return { toJSON() { throw new Error('no'); } };",
    BAD,
  ),
  result(
    'javascript',
    '`__proto__` in a result is data, merged into nothing',
    `return JSON.parse('{"__proto__":{"polluted":1,"isAdmin":true},"constructor":{"prototype":{"x":1}},"toString":1}');`,
    ['succeeded', 'invalid_output'],
    isUnpolluted,
  ),
  result('javascript', 'more than 1 MiB is output_too_large', "return 'x'.repeat(1048576 + 10);", [
    'output_too_large',
  ]),
  result(
    'javascript',
    'a result whose text is far larger than its value is output_too_large',
    String.raw`const part = '\u0000'.repeat(1000); return new Array(100000).fill(part);`,
    ['output_too_large', 'out_of_memory'],
  ),
  result(
    'javascript',
    'a result nested 100,000 deep fails the step alone',
    'let deep = null; for (let i = 0; i < 100000; i++) deep = [deep]; return deep;',
    [...BAD, 'output_too_large'],
  ),
  result(
    'javascript',
    'patched JSON, arrays and promises forge nothing on the host',
    String.raw`
JSON.stringify = () => '{"forged": true}';
String.prototype.toString = () => '{}';
Array.prototype.toJSON = () => 'forged'; Object.prototype.toJSON = function () { return 'forged too'; };
Promise.prototype.then = function () { return this; };
try { TextEncoder.prototype.encode = () => new Uint8Array([1, 2, 3]); } catch {}
try { structuredClone = () => 'forged'; queueMicrotask = () => {}; } catch {}
return { honest: 1 };`,
    ['succeeded', 'timeout', ...BAD],
  ),
  result(
    'javascript',
    'text that is no JSON is not taken for a result',
    String.raw`JSON.stringify = () => '{"a":'; return {};`,
    ['succeeded', ...BAD],
  ),
  result(
    'javascript',
    'a Proxy that throws fails the step',
    "return new Proxy({}, { ownKeys() { throw new Error('no'); } });",
    BAD,
  ),
  result(
    'javascript',
    'functions, symbols and half characters do no harm',
    String.raw`return [() => {}, Symbol('s'), '\ud800', NaN, Infinity, undefined, new Date(NaN), new Map([[1, 2]])];`,
    ['succeeded', ...BAD],
  ),
  result(
    'javascript',
    'an error that cannot be described fails the step',
    "throw new Proxy(new Error('x'), { get() { throw 1; }, getPrototypeOf() { throw 2; } });",
    ['code_error'],
  ),
  result(
    'javascript',
    'an error with a message of 100 MB fails the step',
    "throw new Error('m'.repeat(100 * 1024 * 1024));",
    ['code_error', 'out_of_memory'],
  ),
  result(
    'javascript',
    'an error that claims to be the platform’s is the code’s',
    "const error = new Error('no'); error.name = 'StepError'; error.code = 'sandbox_lost'; error.platformCode = 'no_sandbox'; error.retryable = 'yes'; throw error;",
    ['code_error'],
  ),
  result('python', 'a cyclic result is invalid_output', 'ring = []; ring.append(ring)\nreturn ring', BAD),
  result('python', 'a set is invalid_output', 'return {"a": {1, 2}}', BAD),
  result('python', 'NaN is invalid_output', 'return [float("nan"), float("inf")]', BAD),
  result('python', 'bytes are invalid_output', 'return b"\\xff"', BAD),
  result(
    'python',
    'an object whose conversion throws fails the step',
    'class Evil(dict):\n    def items(self): raise ValueError("no")\n    def __iter__(self): raise ValueError("no")\n    def keys(self): raise ValueError("no")\nreturn Evil(a=1)',
    [...BAD, 'succeeded'],
  ),
  result(
    'python',
    '`__proto__` in a result is data, merged into nothing',
    'return {"__proto__": {"polluted": 1}, "constructor": {"prototype": {"x": 1}}}',
    ['succeeded', 'invalid_output'],
    isUnpolluted,
  ),
  result('python', 'keys twice in an object do no harm', 'return {1: "a", "1": "b", None: "c", True: "d"}', [
    'succeeded',
    ...BAD,
  ]),
  result('python', 'more than 1 MiB is output_too_large', 'return "x" * (1048576 + 10)', [
    'output_too_large',
  ]),
  result(
    'python',
    'a result nested 100,000 deep fails the step alone',
    'deep = None\nfor _ in range(100_000): deep = [deep]\nreturn deep',
    [...BAD, 'output_too_large'],
  ),
  result(
    'python',
    'a number of 10,000 digits fails the step alone',
    'sys.set_int_max_str_digits(0)\nreturn 10 ** 10_000',
    ['succeeded', ...BAD],
  ),
  result('python', 'half characters do no harm', 'return {"\\ud800": "\\udfff"}', ['succeeded', ...BAD]),
  result(
    'python',
    'a patched json module forges nothing on the host',
    'import json\njson.dumps = lambda *a, **k: \'{"a":\'\njson.JSONEncoder.encode = lambda *a: "}{"\njson.encoder.encode_basestring_ascii = lambda t: "x"\nreturn {"honest": 1}',
    ['succeeded', ...BAD],
  ),
  result(
    'python',
    'an error that cannot be described fails the step',
    'class Evil(Exception):\n    def __str__(self): raise Evil()\n    __repr__ = __str__\nraise Evil()',
    ['code_error'],
  ),
  result(
    'python',
    'an error with a message of 100 MB fails the step',
    'raise ValueError("m" * (100 << 20))',
    ['code_error', 'out_of_memory'],
  ),
];
