import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestRunner, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const step = (body: string): string => `def run(ctx, input):\n    ${body.replaceAll('\n', '\n    ')}\n`;
const PID = step('import os; return os.getpid()');
const pidOfSlot = async (): Promise<unknown> => {
  const end = await runner.run(PID);
  return end.type === 'result' ? end.output : end;
};

describe('imports', () => {
  test('find modules beside the entry, at the root, in packages with and without __init__, and relative ones', async () => {
    const end = await runner.run({
      'steps/score.py':
        'import helper, beside\nfrom . import beside as relative\nfrom pkg.deep import thing\nfrom pkg import NAME\n' +
        'def run(ctx, input): return [helper.V, beside.V, relative.V, thing.V, NAME, __name__, __file__]\n',
      'helper.py': 'V = 1',
      'steps/beside.py': 'V = 2',
      'pkg/__init__.py': 'from .deep.thing import V\nNAME = __name__',
      'pkg/deep/thing.py': 'V = 3',
    });
    expect(end).toMatchObject({ output: [1, 2, 2, 3, 'pkg', 'steps.score', 'steps/score.py'] });
  });

  test.each(['json.py', 'code/step.py', 'test.py', 'my-steps/v1.2/step.py'])(
    'run an entry at %s',
    async (entry) => {
      const end = await runner.run(
        { [entry]: 'import json\ndef run(ctx, input): return json.dumps([input])' },
        { input: 1 },
      );
      expect(end).toMatchObject({ output: '[1]' });
    },
  );

  test('mean the standard library by its names, whatever lies beside the step', async () => {
    const end = await runner.run({
      'step.py': 'import random\ndef run(ctx, input): return random.randint(1, 1)',
      'random.py': 'raise ValueError',
    });
    expect(end).toMatchObject({ output: 1 });
  });

  test('find the packages’ folder, after the program', async () => {
    const packages = await mkdtemp(join(tmpdir(), 'millrace-packages-'));
    try {
      await mkdir(join(packages, 'lib'));
      await writeFile(join(packages, 'lib/__init__.py'), 'from .inner import V\n');
      await writeFile(join(packages, 'lib/inner.py'), 'V = "package"\n');
      await writeFile(join(packages, 'shadowed.py'), 'V = "package"\n');
      const files = {
        'step.py': 'import lib, shadowed\ndef run(ctx, input): return [lib.V, shadowed.V]',
        'shadowed.py': 'V = "program"',
      };
      expect(await runner.run(files, { packages })).toMatchObject({ output: ['package', 'program'] });
      expect(await runner.run(`import lib\n${PID}`)).toMatchObject({ failure: 'unresolved_import' });
    } finally {
      await rm(packages, { recursive: true });
    }
  });
});

describe('the next step', () => {
  test('runs in the same process, with modules of its own', async () => {
    const files = {
      'step.py':
        'import state, os\ndef run(ctx, input):\n    state.seen.append(1)\n    return [len(state.seen), os.getpid()]\n',
      'state.py': 'seen = []',
    };
    const first = await runner.run(files);
    expect(first).toMatchObject({ output: [1, expect.any(Number)] });
    expect(await runner.run(files)).toMatchObject(first);
  });

  test('does not see what honest steps change as a matter of course, in the same process', async () => {
    const before = await pidOfSlot();
    const lost = runner.session.slotsLost();
    const changes = [
      'import collections, decimal, os, random, re, sys, tempfile, logging, warnings, asyncio, functools, enum, typing',
      'import sqlite3, xml.etree.ElementTree, http.client, csv, zoneinfo, statistics, unittest.mock, multiprocessing',
      'random.seed(1); decimal.getcontext().prec = 3; re.compile("x+y"); os.environ["A"] = "1"; os.chdir("/"); os.umask(0)',
      'sys.path.append("/x"); sys.argv.append("y"); sys.stdout = None; tempfile.mkdtemp(); open("file", "w").write("x")',
      'logging.getLogger().setLevel("DEBUG"); logging.getLogger("mine").addHandler(logging.StreamHandler())',
      'logging.getLogger("asyncio").disabled = True; logging.disable(logging.CRITICAL)',
      'warnings.simplefilter("always"); warnings.warn("x", stacklevel=2)',
      'asyncio.run(asyncio.sleep(0)); re.compile("a", re.I | re.M | re.X)',
      '@functools.singledispatch\ndef f(x): pass',
      'typing.Optional[typing.List[int]]; collections.namedtuple("N", "a b")(1, 2); __import__("dataclasses").make_dataclass("D", ["a"])(1)',
      'import concurrent.futures, urllib.request',
      'with concurrent.futures.ThreadPoolExecutor(2) as pool: list(pool.map(str, range(3)))',
      'import subprocess; subprocess.run(["/bin/true"])',
      'import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [1]); signal.alarm(60)',
      'sys.fd = os.open("/dev/null", 0); del sys.fd; os.open("/dev/null", 0)',
    ].join('\n');
    const end = await runner.run(step(changes));
    expect(end).toMatchObject({ type: 'result' });
    expect(end.logs.filter(({ text }) => text.includes('replaced'))).toEqual([]);
    const look = [
      'import decimal, logging, os, random, signal, sys, tempfile',
      'mask = os.umask(0o22)',
      'return [decimal.getcontext().prec, os.environ.get("A"), mask, "/x" in sys.path, sys.argv, len(os.listdir("/proc/self/fd")) <= 6,',
      '        os.listdir("."), "sqlite3" in sys.modules, "step" in sys.modules, logging.root.level, "mine" in logging.root.manager.loggerDict,',
      '        logging.getLogger("asyncio").disabled, logging.root.manager.disable, signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), signal.alarm(0),',
      '        os.getpid(), random.random() == __import__("random").Random(1).random(), tempfile.gettempdir() == os.getcwd()]',
    ].join('\n');
    expect(await runner.run(step(look))).toMatchObject({
      output: [
        28,
        null,
        0o22,
        false,
        [''],
        true,
        [],
        false,
        true,
        20,
        false,
        false,
        0,
        true,
        0,
        before,
        false,
        true,
      ],
    });
    expect(runner.session.slotsLost()).toBe(lost);
  });

  test.each([
    ['a function of a module', 'import json; json.dumps = None', /json\.dumps was changed/],
    ['a method of a class', 'import json; json.JSONEncoder.encode = None', /JSONEncoder\.encode was changed/],
    ['a builtin', 'import builtins; builtins.open = print', /builtins/],
    ['a new builtin', 'import builtins; builtins.mine = 1', /builtins\.mine/],
    ['a table of a module', 'import urllib.parse; urllib.parse.uses_netloc.append("x")', /uses_netloc/],
    [
      'a module that takes the place of another',
      'import sys, json; sys.modules["json"] = sys',
      /sys\.modules/,
    ],
    [
      'what is equal to everything',
      'import unittest.mock, builtins; builtins.ascii = unittest.mock.ANY',
      /builtins/,
    ],
    ['the runner itself', 'import millrace_runner.output as o; o.encode_output = None', /encode_output/],
    [
      'a thread',
      'import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()',
      /a thread/,
    ],
    ['a process', 'import subprocess; subprocess.Popen(["/bin/sleep", "60"])', /a process/],
    [
      'a daemon in a session of its own',
      'import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)\nos.wait()',
      /a process/,
    ],
    ['a fork that returns, too', 'import os, time\nif os.fork() == 0: time.sleep(60)', /a process/],
    ['a handler of signals', 'import signal; signal.signal(signal.SIGUSR1, print)', /signal handler/],
    ['a handler at exit', 'import atexit; atexit.register(print)', /atexit/],
    ['another recursion limit', 'import sys; sys.setrecursionlimit(5000)', /recursionlimit/],
    ['a trace function', 'import sys; sys.settrace(lambda *a: None)', /gettrace/],
    ['another stdout', 'import os; os.dup2(os.open("/dev/null", 1), 1)', /stdout/],
    [
      'a resource limit',
      'import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))',
      /resource limit/,
    ],
    ['a time-out for sockets', 'import socket; socket.setdefaulttimeout(1)', /defaulttimeout/],
    ['a default of decimal', 'import decimal; decimal.DefaultContext.prec = 3', /DefaultContext/],
  ])('gets another process when a step leaves %s', async (_, body, reason) => {
    const before = await pidOfSlot();
    const lost = runner.session.slotsLost();
    const end = await runner.run(step(`${body}\nreturn "done"`));
    expect(end).toMatchObject({ type: 'result', output: 'done' });
    expect(end.logs.at(-1)).toMatchObject({ level: 'debug', text: expect.stringMatching(reason) });
    expect(runner.session.slotsLost()).toBe(lost + 1);
    expect(await pidOfSlot()).not.toBe(before);
    // Nothing of it lives on: main, the template and one or two slots are all there is.
    expect(await processesBelow(runner.pid)).toBeLessThanOrEqual(3);
  });

  test('gets another process after a step that used much memory, which is no fault', async () => {
    const before = await pidOfSlot();
    const lost = runner.session.slotsLost();
    await runner.run(step('x = bytearray(80_000_000); return len(x)'));
    expect(await pidOfSlot()).not.toBe(before);
    expect(runner.session.slotsLost()).toBe(lost);
  });

  test('runs finalizers of the step before in that step’s own time', async () => {
    const body =
      'class Late:\n    def __init__(self): self.me = self\n    def __del__(self): print("finalized")\nLate()';
    await runner.run(step(body));
    expect((await runner.run(step('import gc; gc.collect()'))).logs).toEqual([]);
  });

  test('has a random state of its own', async () => {
    const source = step('import random, uuid; return [random.random(), str(uuid.uuid4())]');
    const ends = await Promise.all(Array.from({ length: 6 }, () => runner.run(source)));
    expect(new Set(ends.map((end) => JSON.stringify(end.type === 'result' && end.output))).size).toBe(6);
  });
});

describe('isolateProcess', () => {
  test('gives the step a process that nobody else ever has', async () => {
    const slot = await pidOfSlot();
    const lost = runner.session.slotsLost();
    const body =
      'import builtins, os\nassert not hasattr(builtins, "mine")\nbuiltins.mine = 1\nreturn os.getpid()';
    const ends = await Promise.all(
      Array.from({ length: 4 }, () => runner.run(step(body), { isolateProcess: true })),
    );
    const pids = ends.map((end) => end.type === 'result' && end.output);
    expect(new Set([...pids, slot]).size).toBe(5);
    expect(pids).not.toContain(await pidOfSlot());
    expect(runner.session.slotsLost()).toBe(lost);
  });
});

describe('files', () => {
  const LOOK = step('import os; return [os.listdir("."), sorted(os.listdir(os.path.dirname(os.getcwd())))]');

  test.each([
    ['in its folder', 'open("a", "w").close(); __import__("os").makedirs("b/c/d")'],
    [
      'in a tree deeper than any path',
      'import os\nfor _ in range(1500): os.mkdir("d" * 100); os.chdir("d" * 100)',
    ],
    [
      'in folders without rights',
      'import os; os.makedirs("a/b"); open("a/b/c", "w").close(); os.chmod("a/b", 0); os.chmod("a", 0)',
    ],
    ['beside its folder', 'open("../left", "w").close(); __import__("os").makedirs("../x/y")'],
    [
      'behind links',
      'import os; os.symlink("/", "root"); os.symlink("/usr", "../usr"); os.mkfifo("../pipe")',
    ],
  ])('that a step leaves %s are gone', async (_, body) => {
    expect(await runner.run(step(body))).toMatchObject({ type: 'result' });
    expect(await runner.run(LOOK)).toMatchObject({ output: [[], [expect.stringMatching(/^slot-\d+$/)]] });
    expect(await readdir('/usr')).toContain('bin');
  });

  test('of a step that was ended by force are gone, too', async () => {
    const abort = new AbortController();
    await runner.run(step('open("a", "w").close(); print(1)\nwhile True: pass'), {
      signal: abort.signal,
      onLog: () => abort.abort(),
    });
    expect(await runner.run(LOOK)).toMatchObject({ output: [[], [expect.stringMatching(/^slot-\d+$/)]] });
  });

  test('beside the folders make the next step wait for those under way, which keep them', async () => {
    const order: string[] = [];
    const slow = runner
      .run(step('import os, time; time.sleep(0.6); return sorted(os.listdir(".."))'))
      .finally(() => order.push('slow'));
    await delay(100);
    await runner.run(step('open("../left", "w").close()'));
    const next = runner.run(LOOK).finally(() => order.push('next'));
    expect(await slow).toMatchObject({ output: ['left', expect.stringMatching(/^slot-/)] });
    expect(await next).toMatchObject({ output: [[], [expect.stringMatching(/^slot-/)]] });
    expect(order).toEqual(['slow', 'next']);
  });

  test('and processes are gone when the runner ends', async () => {
    const short = await startTestRunner();
    await short.run(step('open("../left", "w").close()'));
    const pids = await processesBelow(short.pid);
    expect(pids).toBeGreaterThan(1);
    await short.stop();
    await expect(readFile(`/proc/${short.pid}/status`)).rejects.toThrow(/ENOENT/);
  });
});

/** How many processes a process has below it. */
async function processesBelow(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-e', '-o', 'pid=,ppid=,stat=']);
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  const below = (parent: string): number =>
    rows
      .filter(([, ppid, state]) => ppid === parent && !state?.startsWith('Z'))
      .reduce((sum, [child = '']) => sum + 1 + below(child), 0);
  return below(String(pid));
}
