import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { decodeFrames } from './driver-support/frames.ts';
import { findRunsc } from '../../../src/worker/sandbox/gvisor/find-runsc.ts';
import { openSandboxDriver, type DriverOptions } from '../../../src/worker/sandbox/open-driver.ts';
import type { Runtime } from '../../../src/worker/sandbox/driver.ts';
import { buildRootfs, provideRootfs } from '../../../src/worker/sandbox/rootfs/build.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import {
  canIsolate,
  LIMITS,
  openDriver,
  standInOptions,
  processesOf,
  startStandIn,
  tracesOf,
  launcherOf,
} from './driver-support/harness.ts';

/** What the machine's own search finds: tests of real isolation fail without it, they are not skipped. */
async function realRunsc(): Promise<string> {
  const { candidates } = await findRunsc({ ...standInOptions('/nowhere'), circumstances: [] });
  const [first] = candidates;
  if (first === undefined)
    throw new Error('there is no runsc on this machine; run scripts/setup-test-machine');
  return first.file;
}

async function fakeRunsc(directory: string, name: string, script: string): Promise<string> {
  const file = join(directory, name);
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  return file;
}

/** In place of `runsc run`: the program in the container's files and cgroup, but on the kernel of this machine. */
const IMPOSTOR = `
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
const folder = process.argv[process.argv.indexOf('--bundle') + 1];
const { process: program, root, linux } = JSON.parse(readFileSync(folder + '/config.json', 'utf8'));
for (const hierarchy of ['.', ...readdirSync('/sys/fs/cgroup')]) {
  try {
    writeFileSync('/sys/fs/cgroup/' + hierarchy + linux.cgroupsPath + '/cgroup.procs', String(process.pid));
  } catch {}
}
const env = Object.fromEntries(program.env.map((entry) => entry.split('=')));
process.exit(spawnSync('/usr/sbin/chroot', [root.path, ...program.args], { env, stdio: 'inherit' }).status);
`;

const refusalOf = async (options: DriverOptions): Promise<{ reason: string; remedy: string }> => {
  const driver = await openSandboxDriver(options);
  if (driver.description !== undefined) {
    await driver.close();
    throw new Error(`${driver.description.driver} was opened`);
  }
  return driver;
};

describe('opening a sandbox driver', () => {
  it('opens none when none is asked for', async () => {
    expect(await refusalOf(standInOptions('/nowhere', { driver: 'none' }))).toMatchObject({
      reason: 'SANDBOX_DRIVER is none',
    });
  });

  it('opens no runner pods outside of a cluster, nor without knowing where they are', async () => {
    const outside = standInOptions('/nowhere', { driver: 'kubernetes' });
    expect((await refusalOf(outside)).reason).toContain('KUBERNETES_SERVICE_HOST is unset');
    const half = { apiHost: '10.96.0.1', apiPort: 443, port: 8082, pod: { name: 'worker-1' } };
    expect((await refusalOf({ ...outside, kubernetes: half })).reason).toBe(
      'runner pods cannot be used without RUNNER_NAMESPACE, GATEWAY_NAME, POD_NAMESPACE, POD_IP',
    );
    const chosen = { ...half, runnerNamespace: 'runners' };
    expect((await refusalOf({ ...outside, driver: 'auto', kubernetes: chosen })).reason).toBe(
      'runner pods cannot be used without GATEWAY_NAME, POD_NAMESPACE, POD_IP',
    );
  });

  it('refuses plain processes in production', async () => {
    const refusal = await refusalOf(
      standInOptions('/nowhere', { driver: 'process', environment: 'production' }),
    );
    expect(refusal.reason).toContain('ENVIRONMENT=production');
    expect(refusal.remedy).toContain('SANDBOX_DRIVER=gvisor');
  });

  it.runIf(process.platform === 'linux' && process.getuid?.() !== 0).for(['auto', 'gvisor'] as const)(
    'refuses %s to a user who is not root, and never falls back to plain processes',
    async (driver) => {
      const refusal = await refusalOf(standInOptions('/nowhere', { driver }));
      expect(refusal.reason).toContain('the worker is not root');
      expect(refusal.remedy).toContain('start the worker as root');
    },
  );
});

describe.runIf(canIsolate)('finding runsc', () => {
  it('refuses a machine without one, and says how to get it', async () => {
    const directory = await makeTempDirectory();
    const refusal = await refusalOf(
      standInOptions(join(directory, 'state'), {
        runscPath: join(directory, 'missing'),
        cacheDirectory: join(directory, 'cache'),
        path: '/usr/bin:/bin',
      }),
    );
    expect(refusal.reason).toMatch(
      /^there is no runsc \(gVisor\) on this machine; MILLRACE_RUNSC is .*missing/,
    );
    expect(refusal.remedy).toContain('scripts/install-gvisor');
  });

  it('passes over what is too old, what does not run and what fails the self-test', async () => {
    const directory = await makeTempDirectory();
    const cache = join(directory, 'cache');
    await mkdir(cache);
    const old = await fakeRunsc(directory, 'runsc', 'echo "runsc version release-20221219.0"');
    await fakeRunsc(
      cache,
      'runsc',
      'case $1 in --version) echo "runsc version release-20260101.0";; flags) echo "  -directfs";; *) echo "it fails" >&2; exit 3;; esac',
    );
    const lines: string[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const real = await realRunsc();
    const options = standInOptions(join(directory, 'state'), {
      runscPath: old,
      cacheDirectory: cache,
      logger,
      path: `${join(real, '..')}:${process.env.PATH}`,
    });
    const driver = await openDriver(options);
    const { sandbox, tell } = await startStandIn(driver, 'python');
    expect(await tell('result = 6 * 7')).toBe(42);
    await driver.close();
    expect(await sandbox.exited).toMatchObject({ reason: 'killed' });
    const log = lines.join('');
    expect(log).toContain('release-20221219.0; it has to be of 2025 or later');
    expect(log).toContain('exit code 3; it fails');
  });

  /** Of a runsc of this year that starts containers with `start`, a shell's command. Shows that nothing is left of it. */
  async function refusalOfOnly(directory: string, start: string) {
    const file = await fakeRunsc(
      directory,
      'runsc',
      `case $1 in --version) echo "runsc version release-20260101.0";; flags) ;; *) ${start};; esac`,
    );
    const state = join(directory, 'state');
    const refusal = await refusalOf(
      standInOptions(state, {
        runscPath: file,
        cacheDirectory: join(directory, 'cache'),
        path: '/usr/bin:/bin',
      }),
    );
    expect(await readdir(state)).toEqual([]);
    return { file, refusal };
  }

  it('says why the only one failed the self-test', async () => {
    const directory = await makeTempDirectory();
    const { file, refusal } = await refusalOfOnly(directory, 'echo "no systrap here" >&2; exit 1');
    expect(refusal.reason).toContain(`${file} failed the self-test: exit code 1; no systrap here`);
  });

  it('refuses one that runs programs on the kernel of this machine instead of gVisor’s, and says what to do', async () => {
    const directory = await makeTempDirectory();
    const program = join(directory, 'impostor.mjs');
    await writeFile(program, IMPOSTOR);
    const { file, refusal } = await refusalOfOnly(directory, `exec ${process.execPath} ${program} "$@"`);
    expect(refusal.reason).toContain(
      `${file} failed the self-test: it does not run containers on gVisor's kernel`,
    );
    expect(refusal.remedy).toContain('scripts/install-gvisor');
  });

  it('runs sandboxes as users who own nothing, where everyone may pass to their files', async () => {
    const directory = await makeTempDirectory();
    const state = join(directory, 'state');
    const cacheDirectory = join(directory, 'cache');
    const driver = await openDriver(standInOptions(state, { cacheDirectory, runscPath: await realRunsc() }));
    const { sandbox, tell } = await startStandIn(driver, 'python');
    await tell('import os; result = 1');
    expect(await tell(`result = os.listdir('/shared')`)).toEqual([]);
    await mkdir(join(cacheDirectory, 'packages', 'one'), { recursive: true });
    await writeFile(join(cacheDirectory, 'packages', 'one', 'file'), 'text');
    await sandbox.share('one', join(cacheDirectory, 'packages', 'one'));
    expect(await tell(`result = open('/shared/one/file').read()`)).toBe('text');
    const found = await processesOf(state);
    const usersOf = (kind: string): readonly number[] =>
      found.filter(({ command }) => command.includes(` ${kind} `)).map(({ uid }) => uid);
    expect(new Set(usersOf('gofer'))).toEqual(new Set([2_000_000_000]));
    expect(new Set(usersOf('boot'))).toEqual(new Set([65_534]));
    await driver.close();
    expect(await tracesOf(state, [launcherOf(sandbox.id).id])).toEqual([]);
  });

  it('tests a runsc once: what has passed is used at once by the next start', async () => {
    const directory = await makeTempDirectory();
    const log = join(directory, 'log');
    const runscPath = await fakeRunsc(
      directory,
      'runsc',
      `case $1 in --version) echo "runsc version release-20260101.0";; *) echo "$@" >> ${log}; exec ${await realRunsc()} "$@";; esac`,
    );
    const countRuns = async (): Promise<number> =>
      (await readFile(log, 'utf8')).split('\n').filter((line) => line.includes(' run ')).length;
    const options = standInOptions(join(directory, 'state'), {
      runscPath,
      cacheDirectory: join(directory, 'cache'),
    });
    await (await openDriver(options)).close();
    expect(await countRuns()).toBe(1);
    await (await openDriver(options)).close();
    expect(await countRuns()).toBe(1);
  });
});

describe.runIf(canIsolate)('the real runners in gVisor', () => {
  it.for(['javascript', 'python'] as const satisfies readonly Runtime[])(
    '%s says that it is ready',
    async (runtime) => {
      const directory = await makeTempDirectory();
      const {
        bundleJavaScriptRunner: _,
        pythonRunner: __,
        ...options
      } = standInOptions(join(directory, 'state'));
      const driver = await openDriver(options);
      onTestFinished(() => driver.close());
      const sandbox = await driver.start({ runtime, limits: LIMITS });
      const { header } = await Promise.race([
        decodeFrames(sandbox.channel).next(),
        sandbox.exited.then((exit) => Promise.reject(new Error(JSON.stringify(exit)))),
      ]);
      expect(header).toMatchObject({ type: 'ready', protocol: 1 });
      sandbox.kill();
      expect(await sandbox.exited).toMatchObject({ reason: 'killed' });
    },
  );
});

describe.runIf(process.platform === 'linux')('the root file system', () => {
  it('is built once when two want it at once, and holds nothing but the runners', async () => {
    const directory = await makeTempDirectory();
    const builds: string[] = [];
    const options = {
      ...standInOptions('/nowhere'),
      cacheDirectory: directory,
      onBuild: (key: string) => void builds.push(key),
    };
    const [one, two] = await Promise.all([provideRootfs(options), provideRootfs(options)]);
    expect(one).toEqual(two);
    expect(builds).toHaveLength(1);
    expect((await readdir(one.root)).sort()).toEqual(
      expect.arrayContaining(['dev', 'etc', 'proc', 'python', 'runner', 'shared', 'sys', 'tmp', 'usr']),
    );
    expect(await readdir(join(one.root, 'usr/bin'))).toEqual(['deno']);
    expect((await readdir(join(one.root, 'etc'))).sort()).toEqual([
      'group',
      'hosts',
      'nsswitch.conf',
      'passwd',
    ]);
    const library = join(one.root, 'python/lib', (await readdir(join(one.root, 'python/lib')))[0] ?? '');
    for (const left of ['test', 'idlelib', 'tkinter', 'ensurepip', 'site-packages']) {
      expect(await readdir(library)).not.toContain(left);
    }
  });

  it('does without Python, and says so', async () => {
    const directory = await makeTempDirectory();
    const place = join(directory, 'rootfs');
    const bin = join(directory, 'bin');
    await mkdir(bin);
    const old = await fakeRunsc(bin, 'python3', 'exit 1');
    const ldd = await fakeRunsc(bin, 'ldd', 'PATH=/usr/bin:/bin exec ldd "$@"');
    const { manifest } = await buildRootfs(
      { ...standInOptions('/nowhere'), cacheDirectory: directory, path: join(ldd, '..') },
      place,
    );
    expect(manifest.python).toBeUndefined();
    expect(manifest.pythonMissing).toContain(
      `no python3 of version 3.11 or later is on the PATH; ${old} does not run`,
    );
    expect(await readdir(join(place, 'root'))).not.toContain('python');
  });

  it('changes its key with a runner', async () => {
    const directory = await makeTempDirectory();
    const runner = join(directory, 'runner');
    await mkdir(runner);
    const keyFor = async (source: string): Promise<string> => {
      await writeFile(join(runner, 'main.py'), source);
      const built = await buildRootfs(
        { ...standInOptions('/nowhere'), cacheDirectory: directory, pythonRunner: runner },
        join(directory, `rootfs-${source.length}`),
      );
      return built.manifest.key;
    };
    expect(await keyFor('pass\n')).not.toBe(await keyFor('pass # other\n'));
  });
});
