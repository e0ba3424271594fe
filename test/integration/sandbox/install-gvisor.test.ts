import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

const run = promisify(execFile);
/** What the script may count on; those that install something are others' in these tests. */
// prettier-ignore
const PROGRAMS = [
  'bash', 'cat', 'chmod', 'cut', 'dirname', 'find', 'flock', 'grep', 'head', 'ln', 'mkdir', 'mktemp', 'mv', 'rm', 'sed', 'sha512sum',
  'sort', 'tar',
];
const runscOf = (day: string): string => `#!/bin/sh\necho 'runsc version release-${day}.0'\n`;

/** Each notes that it was called, in the file `log`, and does what the test's folder has for it. */
const STUBS: Readonly<Record<string, string>> = {
  curl: `url="\${@: -1}"; while [ "$1" != -o ]; do shift; done
case $url in *.sha512) cp "$STATE/sum" "$2" ;; *) cp "$STATE/archive" "$2" ;; esac`,
  // The archive of these tests is not compressed.
  bzip2: 'cat',
  go: `case "$1" in
env) cat "$STATE/go-version" ;;
install) cp "$STATE/built" "$GOBIN/runsc" ;;
esac`,
  'apt-get': 'cp "$STATE/package" "$BIN/runsc"',
  id: 'echo 0',
  uname: 'case "$1" in -s) echo Linux ;; -m) echo x86_64 ;; esac',
};

interface Machine {
  readonly cache: string;
  install(): Promise<{ readonly code: number; readonly said: readonly string[] }>;
  /** Those of `curl`, `go install` and `apt-get` that were called, in their order. */
  ways(): Promise<readonly string[]>;
  installed(): Promise<string>;
}

/** Whatever is not among the files of `state` cannot be had on it. */
async function startMachine(state: Readonly<Record<string, string | Buffer>>): Promise<Machine> {
  const root = await makeTempDirectory();
  const [bin, folder, cache] = [join(root, 'bin'), join(root, 'state'), join(root, 'cache')];
  await Promise.all([mkdir(bin), mkdir(folder)]);
  for (const name of [...PROGRAMS, 'cp']) {
    const { stdout } = await run('/bin/sh', ['-c', `command -v ${name}`]);
    await symlink(stdout.trim(), join(bin, name));
  }
  for (const [name, text] of Object.entries(STUBS)) {
    await writeFile(join(bin, name), `#!${bin}/bash\necho "${name} $1" >>"$STATE/log"\n${text}\n`, {
      mode: 0o755,
    });
  }
  for (const [name, content] of Object.entries(state)) {
    await writeFile(join(folder, name), content, { mode: 0o755 });
  }
  const env = { PATH: bin, BIN: bin, STATE: folder, HOME: root };
  const script = join(PROJECT_ROOT, 'scripts/install-gvisor');
  return {
    cache,
    install: () =>
      run(join(bin, 'bash'), [script, cache], { env }).then(
        ({ stderr }) => ({ code: 0, said: linesOf(stderr) }),
        (raw: { readonly code: number; readonly stderr: string }) => ({
          code: raw.code,
          said: linesOf(raw.stderr),
        }),
      ),
    async ways() {
      const calls = linesOf(await readFile(join(folder, 'log'), 'utf8').catch(() => ''));
      const names = calls.flatMap((call) => /^(curl|go install|apt-get)/.exec(call)?.[0] ?? []);
      return names.filter((name, index) => name !== names[index - 1]);
    },
    installed: () => readFile(join(cache, 'runsc'), 'utf8'),
  };
}

const linesOf = (text: string): readonly string[] =>
  text.split('\n').flatMap((line) => line.replace(/^install-gvisor: /, '') || []);

/** The official release as its server has it. */
async function releaseOf(day: string): Promise<{ readonly archive: Buffer; readonly sum: string }> {
  const folder = await makeTempDirectory();
  await mkdir(join(folder, 'gvisor/gvisor-bin'), { recursive: true });
  await writeFile(join(folder, 'gvisor/runsc'), runscOf(day), { mode: 0o755 });
  await run('tar', ['-cf', join(folder, 'archive'), '-C', folder, 'gvisor']);
  const archive = await readFile(join(folder, 'archive'));
  return { archive, sum: `${createHash('sha512').update(archive).digest('hex')}  gvisor.tar.bz2\n` };
}

const BUILT = { 'go-version': 'go1.26.1\n', built: runscOf('20260905') };
const PACKAGE = { package: runscOf('20250601') };

describe('scripts/install-gvisor', () => {
  it('takes the official release before all else, and says so', async () => {
    const machine = await startMachine({ ...(await releaseOf('20260831')), ...BUILT, ...PACKAGE });
    expect(await machine.install()).toEqual({ code: 0, said: ['installed the official release'] });
    expect(await machine.ways()).toEqual(['curl']);
    expect(await machine.installed()).toBe(runscOf('20260831'));
  });

  it('refuses a release that has another sha512, and tries nothing else', async () => {
    const { archive } = await releaseOf('20260831');
    const sum = `${'0'.repeat(128)}  gvisor.tar.bz2\n`;
    const machine = await startMachine({ archive, sum, ...BUILT, ...PACKAGE });
    const { code, said } = await machine.install();
    const got = createHash('sha512').update(archive).digest('hex');
    expect(code).toBe(1);
    expect(said).toEqual([
      expect.stringMatching(`^the sha512 of https://\\S+ is ${got} and should be ${'0'.repeat(128)}$`),
    ]);
    expect(await machine.ways()).toEqual(['curl']);
    expect((await readdir(machine.cache)).filter((name) => name !== '.install.lock')).toEqual([]);
  });

  it('builds with Go where the release cannot be reached', async () => {
    const machine = await startMachine({ ...BUILT, ...PACKAGE });
    const { code, said } = await machine.install();
    expect([code, said.at(-1)]).toEqual([
      0,
      expect.stringMatching(/^installed a build of v0\.0\.0-20\d{12}-/),
    ]);
    expect(said).toContainEqual(expect.stringContaining('the official release cannot be reached'));
    expect(await machine.ways()).toEqual(['curl', 'go install']);
    expect(await machine.installed()).toBe(BUILT.built);
  });

  it('builds with Go where the release does not run', async () => {
    const machine = await startMachine({ ...(await releaseOf('20230101')), ...BUILT });
    expect(await machine.install()).toMatchObject({ code: 0 });
    expect(await machine.ways()).toEqual(['curl', 'go install']);
    expect(await machine.installed()).toBe(BUILT.built);
  });

  it.each([
    [
      'Go is too old',
      { ...BUILT, 'go-version': 'go1.19.8\n' },
      ['curl', 'apt-get'],
      /needs Go 1\.26 or later.*1\.19\.8/,
    ],
    [
      'the build fails',
      { 'go-version': 'go1.26.1\n' },
      ['curl', 'go install', 'apt-get'],
      /the build failed/,
    ],
  ])('takes the package of the distribution where %s', async (_, state, ways, why) => {
    const machine = await startMachine({ ...state, ...PACKAGE });
    const { code, said } = await machine.install();
    expect([code, said.at(-1)]).toEqual([0, "installed the distribution's package"]);
    expect(said).toContainEqual(expect.stringMatching(why));
    expect(await machine.ways()).toEqual(ways);
  });

  it.each([
    ['there is none', {}, 'there is no package runsc'],
    [
      'all are too old',
      { package: runscOf('20221001') },
      "the package's runsc is too old; it has to be of 2025 or later",
    ],
  ])('fails where %s, and says how to go on', async (_, state, why) => {
    const machine = await startMachine(state);
    const { code, said } = await machine.install();
    expect([code, said.slice(-2)]).toEqual([
      1,
      [why, expect.stringMatching(/^no runsc could be installed; .*MILLRACE_RUNSC/)],
    ]);
  });

  it('fails where runsc cannot be put into the cache folder', async () => {
    const machine = await startMachine(await releaseOf('20260831'));
    await mkdir(join(machine.cache, 'runsc'), { recursive: true });
    const { code, said } = await machine.install();
    expect([code, said.at(-1)]).toEqual([1, `runsc could not be put into ${machine.cache}`]);
  });

  it('leaves alone what is there and new enough', async () => {
    const machine = await startMachine(await releaseOf('20260831'));
    await machine.install();
    expect(await machine.install()).toEqual({
      code: 0,
      said: [`${machine.cache}/runsc is there (20260831)`],
    });
    expect(await machine.ways()).toEqual(['curl']);
  });
});
