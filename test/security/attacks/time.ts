import { javascript, python, type Attack } from './attack.ts';

export const TIMEOUT_MS = 2000;

const common = {
  row: 'X07',
  keys: () => ({ timeout: `${TIMEOUT_MS}ms` }),
  ends: ['timeout'],
} as const satisfies Partial<Attack>;

const javascriptHang = (name: string, body: string): Attack => ({
  ...common,
  language: 'javascript',
  name,
  source: javascript(
    `if (input.good) { await new Promise((resolve) => setTimeout(resolve, 300)); return input.good; }\n${body}`,
  ),
  input: () => ({}),
});
const pythonHang = (name: string, body: string): Attack => ({
  ...common,
  language: 'python',
  name,
  source: python(`if input.get("good"):\n    time.sleep(0.3)\n    return input["good"]\n${body.trim()}`),
  input: () => ({}),
});

/** Given `{good: x}`, each of them gives x after a moment instead: the neighbour in the same sandbox. */
export const TIME_ATTACKS: readonly Attack[] = [
  javascriptHang('while(true) ends as timeout', 'while (true) {}'),
  javascriptHang('a loop of microtasks ends as timeout', 'for (;;) await null;'),
  javascriptHang(
    'timers that arm themselves again end as timeout',
    'const again = () => { setTimeout(again, 0); setTimeout(again, 5); }; again(); await new Promise(() => {});',
  ),
  javascriptHang(
    'a loop that starts when the signal comes ends as timeout',
    "ctx.signal.addEventListener('abort', () => { for (;;) {} }); await new Promise(() => {});",
  ),
  javascriptHang(
    'a loop in a finally that swallows everything ends as timeout',
    'for (;;) { try { while (true) {} } catch {} finally { continue; } }',
  ),
  javascriptHang(
    'a regular expression that backtracks ends as timeout',
    "return /^(a+)+$/.test('a'.repeat(60) + 'b');",
  ),
  javascriptHang('a sort that never ends ends as timeout', 'return [1, 2, 3].sort(() => { for (;;) {} });'),
  javascriptHang(
    'Atomics.wait ends as timeout',
    'for (;;) { try { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); } catch {} }',
  ),
  javascriptHang('a loop in toJSON of the result ends as timeout', 'return { toJSON() { for (;;) {} } };'),
  javascriptHang('a loop in `then` of the result ends as timeout', 'return { then() { for (;;) {} } };'),
  javascriptHang(
    'a loop in WebAssembly ends as timeout',
    String.raw`const code = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11]);
const { instance } = await WebAssembly.instantiate(code); instance.exports.f();`,
  ),
  pythonHang('while True ends as timeout', 'while True: pass'),
  pythonHang(
    'a loop that catches everything ends as timeout',
    `
while True:
    try:
        while True: pass
    except BaseException:
        pass
`,
  ),
  pythonHang(
    'ignoring every signal ends as timeout',
    `
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    time.sleep(60)
`,
  ),
  pythonHang('a loop in C that holds the lock ends as timeout', 'import itertools\nsum(itertools.repeat(1))'),
  pythonHang(
    'a regular expression that backtracks ends as timeout',
    'import re\nreturn bool(re.match("^(a+)+$", "a" * 60 + "b"))',
  ),
  pythonHang(
    'timers that arm themselves again end as timeout',
    `
def again():
    timer = threading.Timer(0.001, again)
    timer.start()
again()
threading.Event().wait()
`,
  ),
  pythonHang(
    'a process that stops itself ends as timeout',
    'os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)',
  ),
  pythonHang(
    'a loop in __del__ and atexit ends as timeout',
    `
import atexit
class Sticky:
    def __del__(self):
        while True: pass
atexit.register(lambda: time.sleep(60))
sticky = Sticky()
del sticky
`,
  ),
];
