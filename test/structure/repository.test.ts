import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { MEMORY_FLAGS, NODE_FLAGS, PROJECT_ROOT } from '../support/processes.ts';
import { projectFiles } from '../support/source-files.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const read = (file: string): Promise<string> => readFile(join(PROJECT_ROOT, file), 'utf8');
const packageJson = async () =>
  JSON.parse(await read('package.json')) as {
    readonly scripts: Readonly<Record<string, string>>;
    readonly dependencies: Readonly<Record<string, string>>;
  };

describe('code from strings (SECURITY S05, S06)', () => {
  it.each(['start', 'api', 'worker'])(
    'npm run %s starts Node without it and without __proto__',
    async (name) => {
      const command = (await packageJson()).scripts[name];
      for (const flag of NODE_FLAGS) expect(command).toContain(` ${flag} `);
    },
  );

  it.each(['api', 'worker'] as const)('npm run %s bounds the heap as operations.md says', async (name) => {
    const flags = MEMORY_FLAGS[name].join(' ');
    expect((await packageJson()).scripts[name]).toContain(` ${flags} src/${name}/main.ts`);
    expect(await read('docs/operations.md')).toContain(` ${flags} dist/${name}/main.js`);
  });

  it('the flags do what they are for', async () => {
    const probe = `
      const refused = (work) => { try { work(); return false; } catch (error) { return error.name === 'EvalError'; } };
      console.log(JSON.stringify([refused(() => eval('1')), refused(() => new Function('return 1')), ({}).__proto__ === undefined]));
    `;
    const { stdout } = await run(process.execPath, [...NODE_FLAGS, '-e', probe]);
    expect(JSON.parse(stdout)).toEqual([true, true, true]);
  });

  it('the command line gives itself the same flags', async () => {
    const launcher = await read('bin/millrace.js');
    for (const flag of NODE_FLAGS) expect(launcher).toContain(`'${flag}'`);
  });

  it.each([
    ['eval', `eval('1');`, 'eslint(no-eval)'],
    ['new Function', `new Function('return 1')();`, 'no-implied-eval'],
    ['a timer with a text', `setTimeout('alert(1)', 1);`, 'no-implied-eval'],
    ['node:vm', `import vm from 'node:vm';\nvm.runInThisContext('1');`, 'eslint(no-restricted-imports)'],
  ])('lint refuses %s', async (_, code, rule) => {
    const directory = await makeTempDirectory();
    await writeFile(join(directory, 'x.ts'), `${code}\n`);
    await writeFile(join(directory, 'tsconfig.json'), await read('tsconfig.json'));
    const oxlint = join(PROJECT_ROOT, 'node_modules/.bin/oxlint');
    const args = [
      oxlint,
      '--type-aware',
      '-c',
      join(PROJECT_ROOT, '.oxlintrc.json'),
      join(directory, 'x.ts'),
    ];

    const failure = await run(process.execPath, args, { cwd: PROJECT_ROOT }).catch((raw: unknown) => raw);

    expect((failure as { readonly stdout?: string }).stdout).toContain(rule);
  });

  // Sandboxes that do not hold, and template engines that compile to functions.
  const DENIED =
    /^(vm2|isolated-vm|safe-eval|notevil|static-eval|expr-eval|jsonpath|ejs|handlebars|pug|nunjucks|eta|dot|lodash\.template|underscore|lodash|mathjs)$/;

  it('no package that makes code from strings is among those that run in production', async () => {
    const lock = JSON.parse(await read('package-lock.json')) as {
      readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>>;
    };
    const production = Object.entries(lock.packages)
      .filter(([path, { dev, devOptional }]) => path !== '' && dev !== true && devOptional !== true)
      .map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
    expect(production).toEqual(expect.arrayContaining(Object.keys((await packageJson()).dependencies)));
    expect(production.filter((name) => DENIED.test(name))).toEqual([]);
  });
});

describe('the repository', () => {
  it('names no folder of the machine it was made on', async () => {
    // These are on every machine.
    const common = new Set(['//', '/tmp/', '/var/tmp/', '/root/', '/home/', '/srv/', '/opt/']);
    const machine = [`${dirname(PROJECT_ROOT.replace(/\/$/, ''))}/`, `${homedir()}/`].filter(
      (path) => !common.has(path),
    );
    for (const file of await projectFiles()) {
      if ((await stat(join(PROJECT_ROOT, file))).size > 1024 * 1024) continue;
      const text = await read(file);
      for (const path of machine) expect.soft(text.includes(path), `${file} names ${path}`).toBe(false);
      expect.soft(text, file).not.toMatch(/["'`\s(=](\/Users\/|\/home\/)[a-z]/);
    }
  });

  it.each(['bin/millrace.js', '.ci/run', 'scripts/setup-test-machine'])(
    '%s can be executed',
    async (file) => {
      expect((await stat(join(PROJECT_ROOT, file))).mode & 0o111).toBe(0o111);
    },
  );

  it('ends early in CI where the tests of isolation would be left out', async () => {
    const bin = await makeTempDirectory();
    await writeFile(join(bin, 'id'), '#!/bin/sh\necho 1000\n', { mode: 0o755 });
    const failure = await run(join(PROJECT_ROOT, 'scripts/setup-test-machine'), {
      env: { PATH: `${bin}:${process.env['PATH']}`, MILLRACE_TEST_ISOLATION: 'required' },
    }).catch((raw: unknown) => raw);
    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/need root on Linux.*run this as root\n$/),
    });
  });

  it('runs in CI what a newcomer runs, and nothing else', async () => {
    const commands = (await read('.ci/run'))
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(commands.slice(0, 5)).toEqual([
      'set -euo pipefail',
      'cd "$(dirname "$0")/.."',
      // It fails where tests of isolation would be left out.
      'export MILLRACE_TEST_ISOLATION=required',
      'npm ci',
      'npm test',
    ]);
    // Then the same on a cluster, where there is one to be had; where not, it is said.
    expect(commands.slice(5).filter((line) => line.includes('npm '))).toEqual([
      '  npm run test:cluster -- --short',
    ]);
    expect(commands.slice(5).join('\n')).toContain('did NOT run');
  });
});
