import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mkdtemp, rm, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { SandboxDriver } from '../../../src/worker/sandbox/driver.ts';
import { openCgroups } from '../../../src/worker/sandbox/gvisor/cgroups.ts';
import { waitFor } from '../../support/wait-for.ts';
import {
  canIsolate,
  LIMITS,
  openDriver,
  standInOptions,
  startStandIn,
  tracesOf,
  launcherOf,
} from './driver-support/harness.ts';

const MEGABYTE = 1_048_576;

describe.runIf(canIsolate)('the gvisor driver', () => {
  let stateDirectory: string;
  let driver: SandboxDriver;
  const launchers: string[] = [];

  beforeAll(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    await chmod(stateDirectory, 0o711);
    driver = await openDriver(standInOptions(stateDirectory));
  });
  afterAll(async () => {
    await driver.close();
    const left = await tracesOf(stateDirectory, launchers);
    await rm(stateDirectory, { recursive: true, force: true });
    expect(left).toEqual([]);
  });

  const start = async (
    ...args: Parameters<typeof startStandIn> extends [unknown, ...infer R] ? R : never
  ) => {
    const told = await startStandIn(driver, ...args);
    launchers.push(launcherOf(told.sandbox.id).id);
    return told;
  };

  it('says which gVisor it is, and starts both runtimes', () => {
    expect(driver.description).toMatchObject({ driver: 'gvisor' });
    expect(driver.description?.isolation).toMatch(/^gVisor \S*20\d{6}\S* \(systrap\)$/);
    expect([...driver.runtimes]).toEqual(['javascript', 'python']);
  });

  it('runs JavaScript without a permission', async () => {
    const { sandbox, tell } = await start('javascript');
    expect(await tell('6 * 7')).toBe(42);
    for (const kind of ['read', 'write', 'net', 'env', 'run', 'ffi', 'sys']) {
      expect(await tell(`Deno.permissions.query({ name: '${kind}' }).then((it) => it.state)`)).toBe('prompt');
    }
    await expect(tell(`Deno.readTextFile('/etc/passwd')`)).rejects.toThrow(/NotCapable/);
    sandbox.kill();
    await sandbox.exited;
  });

  it('runs Python in gVisor as nobody, without a capability', async () => {
    const { sandbox, tell } = await start('python');
    await tell('import os, ctypes, json, socket');
    // klogctl(3): SYSLOG_ACTION_READ_ALL, what dmesg prints.
    const log = await tell(
      'buffer = ctypes.create_string_buffer(8192); ctypes.CDLL(None).klogctl(3, buffer, 8192); result = buffer.value.decode()',
    );
    expect(log).toContain('Starting gVisor');
    expect(await tell('result = [os.getuid(), os.getgid(), os.getgroups(), os.uname().nodename]')).toEqual([
      65_532,
      65_532,
      [],
      'sandbox',
    ]);
    const status = String(await tell(`result = open('/proc/self/status').read()`));
    expect(status).toMatch(/^CapEff:\s*0+$/m);
    expect(status).toMatch(/^CapBnd:\s*0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
    sandbox.kill();
    await sandbox.exited;
  });

  it('gives a runner only the declared environment and descriptors', async () => {
    const { sandbox, tell } = await start('python');
    await tell('import os');
    expect(await tell('result = dict(os.environ)')).toEqual({
      PATH: '/usr/bin',
      HOME: '/tmp',
      TMPDIR: '/tmp',
      LANG: 'C.UTF-8',
    });
    // The fourth is the one that lists the folder.
    expect(await tell(`result = sorted(os.listdir('/proc/self/fd'))`)).toEqual(['0', '1', '2', '3']);
    expect(await tell(`result = os.listdir('/proc').count('1')`)).toBe(1);
    expect(await tell(`result = [name for name in os.listdir('/proc') if name.isdigit()]`)).toEqual(['1']);
    sandbox.kill();
    await sandbox.exited;
  });

  it('shows nothing of this machine, and writes only below /tmp', async () => {
    const { sandbox, tell } = await start('python');
    await tell('import os, socket, subprocess');
    expect(await tell(`result = sorted(os.listdir('/'))`)).toEqual(
      expect.not.arrayContaining(['root', 'home', 'var', 'bin', 'work', 'sbin']),
    );
    expect(await tell(`result = os.listdir('/usr/bin')`)).toEqual(['deno']);
    for (const folder of ['/', '/runner', '/etc', '/shared', '/python/lib']) {
      await expect(tell(`open('${folder}/new', 'w')`)).rejects.toThrow(/Read-only|Permission/);
    }
    await tell(`open('/tmp/new', 'w').write('it')`);
    await tell(`os.chmod('/tmp/new', 0o755)`);
    await expect(tell(`subprocess.run(['/tmp/new'])`)).rejects.toThrow(/PermissionError/);
    await expect(
      tell(`file = open('/tmp/large', 'wb')\nfor _ in range(80): file.write(bytes(${MEGABYTE}))`),
    ).rejects.toThrow(/No space left/);
    sandbox.kill();
    await sandbox.exited;
  });

  it('has no network', async () => {
    const { sandbox, tell } = await start('python');
    await tell('import socket');
    expect(await tell('result = [name for _, name in socket.if_nameindex()]')).toEqual(['lo']);
    for (const address of ['1.1.1.1', '169.254.169.254', '10.0.0.1']) {
      await expect(tell(`socket.create_connection(('${address}', 80), 2)`)).rejects.toThrow(/unreachable/);
    }
    await expect(tell(`socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)`)).rejects.toThrow(
      /PermissionError/,
    );
    await expect(tell(`socket.getaddrinfo('example.com', 80)`)).rejects.toThrow(/gaierror/);
    sandbox.kill();
    await sandbox.exited;
  });

  it('carries a megabyte in both directions, and an end in either', async () => {
    const { sandbox, tell } = await start('python');
    const text = 'x'.repeat(MEGABYTE);
    expect(await tell(`result = '${text}'`)).toBe(text);
    sandbox.channel.end();
    expect(await sandbox.exited).toMatchObject({ reason: 'exited', detail: 'exit code 0' });
  });

  it('tells the exit code and the end of what was written to stderr', async () => {
    const { sandbox, leave } = await start('python');
    leave(`import os; os.write(2, b'a' * 100_000 + b' the end'); os._exit(7)`);
    const exit = await sandbox.exited;
    expect(exit.reason).toBe('exited');
    expect(exit.detail).toMatch(/^exit code 7; a+ the end$/);
    expect(exit.detail.length).toBeLessThan(2100);
  });

  it('kills what ignores everything', async () => {
    const { sandbox, leave } = await start('python');
    leave('import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass');
    await delay(50);
    sandbox.kill();
    sandbox.kill();
    expect(await sandbox.exited).toMatchObject({ reason: 'killed' });
  });

  it.for([
    ['memory of a process', `blocks = []\nwhile True: blocks.append(bytearray(b'x' * ${8 * MEGABYTE}))`],
    [
      'memory without a file system',
      `import os; file = os.memfd_create('it')\nwhile True: os.write(file, b'x' * ${MEGABYTE})`,
    ],
  ])('tells that %s was used up', async ([, code]) => {
    const { sandbox, leave } = await start('python', { ...LIMITS, memoryBytes: 128 * MEGABYTE });
    leave(code!);
    expect(await sandbox.exited).toMatchObject({ reason: 'out_of_memory' });
  });

  it('tells that memory was used up, also when a child alone died of it', async () => {
    const { sandbox, tell } = await start('python', { ...LIMITS, memoryBytes: 128 * MEGABYTE });
    await tell('import os');
    expect(await sandbox.ranOutOfMemory?.()).toBe(false);
    const status = await tell(
      `kept = []\npid = os.fork()\nwhile pid == 0: kept.append(bytearray(os.urandom(1024) * ${MEGABYTE / 256}))\nresult = os.waitpid(pid, 0)[1]`,
    ).catch(() => undefined);
    // Control groups of version 2 end all of it, and there is nothing to ask any more.
    if (status !== undefined) {
      expect(status).toBe(9);
      expect(await sandbox.ranOutOfMemory?.()).toBe(true);
    }
    sandbox.kill();
    expect(await sandbox.exited).toMatchObject({ reason: 'out_of_memory' });
  });

  it('tells that processes were used up', async () => {
    const { sandbox, leave } = await start('python', { ...LIMITS, pids: 64 });
    leave('import os\nwhile True:\n  try: os.fork()\n  except OSError: pass');
    expect(await sandbox.exited).toMatchObject({ reason: 'process_limit' });
  });

  it('sets other limits while it runs', async () => {
    const { sandbox, tell, leave } = await start('python', { ...LIMITS, memoryBytes: 96 * MEGABYTE });
    await sandbox.setLimits({ ...LIMITS, memoryBytes: 400 * MEGABYTE });
    await tell(`block = b'x' * ${200 * MEGABYTE}; result = 1`);
    const used = await sandbox.memoryBytes();
    expect(used).toBeGreaterThan(200 * MEGABYTE);
    await tell('del block; result = 1');
    leave(`block = b'x' * ${600 * MEGABYTE}`);
    expect(await sandbox.exited).toMatchObject({ reason: 'out_of_memory' });
  });

  it('lets others go before a start in the background, until it is hurried', async () => {
    const sandbox = await driver.start({ runtime: 'javascript', limits: LIMITS, isBackground: true });
    const launcher = launcherOf(sandbox.id).id;
    launchers.push(launcher);
    const { version, mount } = await openCgroups();
    const file = version === 1 ? ['cpu', 'cpu.shares'] : ['', 'cpu.weight'];
    const weight = async (): Promise<number> =>
      Number(await readFile(join(mount, file[0]!, `millrace-${launcher}`, sandbox.id, file[1]!), 'utf8'));
    const held = await weight();
    sandbox.hurry!(); // this driver has it
    await waitFor(async () => (await weight()) > held, { what: 'the usual weight' });
    // As both kernels have it by themselves, and a tenth of it.
    expect([held, await weight()]).toEqual(version === 1 ? [102, 1024] : [10, 100]);
    sandbox.kill();
    await sandbox.exited;
  });

  it('shares a folder after the start, with this sandbox alone', async () => {
    const packages = join(stateDirectory, 'packages');
    await mkdir(join(packages, 'wheel', 'package'), { recursive: true });
    await writeFile(join(packages, 'wheel', 'package', '__init__.py'), 'answer = 42\n');
    try {
      const [first, second] = await Promise.all([start('python'), start('python')]);
      await expect(first.tell(`open('/shared/wheel-1/package/__init__.py')`)).rejects.toThrow(/FileNotFound/);
      expect(await first.sandbox.share('wheel-1', join(packages, 'wheel'))).toBe('/shared/wheel-1');
      expect(await first.sandbox.share('wheel-1', join(packages, 'wheel'))).toBe('/shared/wheel-1');
      expect(
        await first.tell(
          `import sys; sys.path.insert(0, '/shared/wheel-1'); import package; result = package.answer`,
        ),
      ).toBe(42);
      await expect(first.tell(`open('/shared/wheel-1/package/__init__.py', 'a')`)).rejects.toThrow(
        /Permission/,
      );
      await expect(first.tell(`open('/shared/new', 'w')`)).rejects.toThrow(/Permission|Read-only/);
      expect(await second.tell(`import os; result = os.listdir('/shared')`)).toEqual([]);
      await expect(first.sandbox.share('etc', '/etc')).rejects.toThrow(/all that may be shared/);
      await expect(first.sandbox.share('../x', join(packages, 'wheel'))).rejects.toThrow(/no name/);
      for (const { sandbox } of [first, second]) sandbox.kill();
      await Promise.all([first.sandbox.exited, second.sandbox.exited]);
    } finally {
      await rm(packages, { recursive: true });
    }
  });

  it('shares nothing that is not readable for everyone', async () => {
    const folder = join(stateDirectory, 'private');
    await mkdir(join(folder, 'it'), { recursive: true });
    await writeFile(join(folder, 'it', 'key'), 'secret', { mode: 0o600 });
    try {
      const { sandbox, tell } = await start('python');
      await expect(sandbox.share('it', join(folder, 'it'))).rejects.toThrow(/not readable for everyone/);
      expect(await tell(`import os; result = os.listdir('/shared')`)).toEqual([]);
      sandbox.kill();
      await sandbox.exited;
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('fails calls for a sandbox that has ended', async () => {
    const { sandbox } = await start('javascript');
    sandbox.kill();
    await sandbox.exited;
    await expect(sandbox.setLimits(LIMITS)).rejects.toThrow(/has ended/);
    expect(await sandbox.memoryBytes()).toBeUndefined();
  });
});
