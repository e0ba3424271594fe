import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../../../src/cli/problems.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { BUNDLE_LIMITS } from '../../../src/core/bundle/limits.ts';
import { createProgramLoader, type StoredProgram } from '../../../src/core/workflows/program-loader.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import { makeZip } from '../../support/zip.ts';
import { startTestApi, type TestApi } from '../api/harness.ts';

const run = promisify(execFile);

let api: TestApi;
let cache: string;
let folder: string;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());
beforeEach(async () => {
  [folder, cache] = await Promise.all([makeTempDirectory(), makeTempDirectory()]);
});

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function cli(...args: readonly string[]): Promise<Said> {
  const out: string[] = [];
  const err: string[] = [];
  const program = createProgram({
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], XDG_CACHE_HOME: cache, ...pipEnvironment },
    cwd: folder,
    write: (text) => void out.push(text),
    say: (line) => void err.push(line),
    readText: (file) => readFile(file, 'utf8'),
  });
  try {
    const code = await program([...args, '--url', api.base, '--api-key', api.tenant.key]);
    return { code, stdout: out.join('\n'), stderr: err.join('\n') };
  } catch (raw) {
    const { lines, exitCode } = explain(raw);
    return { code: exitCode, stdout: out.join('\n'), stderr: [...err, ...lines].join('\n') };
  }
}
/** Where this machine's pip finds packages. */
const pipEnvironment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => /^(?:PIP|SSL|REQUESTS|https?_proxy|no_proxy)/i.test(name)),
);

const write = async (files: Readonly<Record<string, string>>): Promise<void> => {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
};
const workflow = (name: string, ...files: readonly string[]): string =>
  `name: ${name}\ntriggers: { t: { manual: {} } }\nsteps:\n${files.map((file, index) => `  - { id: s${index}, code: ${file} }\n`).join('')}`;
const program = async (name: string, file: string): Promise<StoredProgram> => {
  const { rows } = await api.admin.query<{ id: string; current_version: number }>(
    `select id, current_version from workflow where name = $1`,
    [name],
  );
  const found = await createProgramLoader(api.engine)(rows[0]!.id, rows[0]!.current_version, file);
  return found!;
};
const sent = async (name: string): Promise<readonly string[]> =>
  Object.keys(
    (await api.tenant.call('GET', `/api/v1/workflows/${name}?files=summary`)).data.files,
  ).toSorted();

/** A package as npm would have installed it. */
const installed = (name: string, version: string, code: string): Readonly<Record<string, string>> => ({
  [`node_modules/${name}/package.json`]: JSON.stringify({ name, version, main: 'index.js' }),
  [`node_modules/${name}/index.js`]: code,
});
const project = (name: string, version: string, lockedAs = version): Readonly<Record<string, string>> => ({
  'package.json': JSON.stringify({ dependencies: { [name]: version } }),
  'package-lock.json': JSON.stringify({
    lockfileVersion: 3,
    packages: { '': { dependencies: { [name]: version } }, [`node_modules/${name}`]: { version: lockedAs } },
  }),
});
const USES_PAD = `import pad from 'pad';\nexport default async (ctx: unknown, input: string) => pad(input);\n`;
const PAD = 'module.exports = function pad(text) {\n  return " " + text.trim();\n};\n';

describe('steps of TypeScript', () => {
  it('go with the files that they import, and nothing else', async () => {
    await write({
      'workflow.yaml': workflow('relative', 'steps/a.ts'),
      'steps/a.ts': `import { x } from '../lib/x.js';\nexport default () => x;\n`,
      'lib/x.ts': `import data from './data.json';\nexport const x = data.x;\n`,
      'lib/data.json': '{"x": 1}',
      'lib/other.ts': 'export const y = 1;',
      '.env': 'SECRET=1',
    });
    expect(await cli('deploy', folder)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('version 1'),
    });
    expect(await sent('relative')).toEqual(['lib/data.json', 'lib/x.ts', 'steps/a.ts']);
    expect((await cli('deploy', folder)).stdout).toContain('version 1, unchanged');
  });

  it('go with a bundle when they import packages', async () => {
    await write({
      'workflow.yaml': workflow('packages', 'steps/a.ts'),
      'steps/a.ts': USES_PAD,
      ...project('pad', '1.0.0'),
      ...installed('pad', '1.0.0', PAD),
    });
    const { code, stderr } = await cli('deploy', folder);
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('bundled steps/a.ts: 3 KiB, with 1 package(s)'),
    ]);
    expect(await sent('packages')).toEqual([
      '.millrace/bundles/steps/a.ts.js',
      '.millrace/bundles/steps/a.ts.json',
      '.millrace/bundles/steps/a.ts.map',
      'steps/a.ts',
    ]);
    const { source, mapStack } = await program('packages', 'steps/a.ts');
    const text = Buffer.from(source).toString();
    expect(text).toContain('" " + text');
    const line = text.split('\n').findIndex((one) => one.includes('" " + text')) + 1;
    expect(mapStack(`TypeError: x\n    at pad (steps/a.ts:${line}:25)`)).toMatch(
      /at pad \(node_modules\/pad\/index\.js:2:\d+\)$/,
    );
    expect((await cli('deploy', folder)).stdout).toContain('unchanged');

    // Over HTTP alone the sources cannot be changed without their bundle.
    const { data } = await api.tenant.call('GET', '/api/v1/workflows/packages');
    const changed = await api.tenant.call('PUT', '/api/v1/workflows/packages', {
      definition: data.definition,
      files: { ...data.files, 'steps/a.ts': `${USES_PAD}// changed` },
    });
    expect(changed.data.errors).toMatchObject([
      { code: 'stale_bundle', fix: expect.stringContaining('millrace deploy') },
    ]);
  });

  it.each([
    ['that are not in package.json', {}, 'steps/a.ts:1:17 `pad` was not found — run `npm install pad`'],
    [
      'that are not installed',
      { ...project('pad', '1.0.0') },
      'steps/a.ts:1:17 `pad` was not found — run `npm install`',
    ],
    [
      'without package.json',
      { ...installed('pad', '1.0.0', PAD) },
      'steps/a.ts it imports packages, and there is no package.json — run `npm init -y`',
    ],
    [
      'without a lockfile',
      { 'package.json': project('pad', '1.0.0')['package.json']!, ...installed('pad', '1.0.0', PAD) },
      'there is no lockfile',
    ],
    [
      'in another version than the lockfile has',
      { ...project('pad', '1.0.0'), ...installed('pad', '1.0.1', PAD) },
      'pad@1.0.1 is installed, and',
    ],
    [
      'with a lockfile of another package.json',
      {
        ...project('pad', '1.0.0'),
        'package.json': JSON.stringify({ dependencies: { pad: '^1.0.0' } }),
        ...installed('pad', '1.0.0', PAD),
      },
      'do not agree — run `npm install`',
    ],
  ])('are refused with packages %s', async (_, files, message) => {
    await write({ 'workflow.yaml': workflow('refused', 'steps/a.ts'), 'steps/a.ts': USES_PAD, ...files });
    const { code, stderr } = await cli('deploy', folder);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect((await api.tenant.call('GET', '/api/v1/workflows/refused')).status).toBe(404);
  });

  it('are refused with file, line and column, beside the problems of the document', async () => {
    await write({
      'workflow.yaml': `${workflow('wrong', 'steps/a.ts', 'steps/b.ts', 'steps/none.ts')}colour: red\n`,
      'steps/a.ts': 'export default (',
      'steps/b.ts': `\nimport { readFile } from 'node:fs/promises';\nexport default readFile;\n`,
    });
    const { code, stdout, stderr } = await cli('validate', folder, '-o', 'json');
    expect(code).toBe(1);
    expect(stderr.split('\n').flatMap((line) => /^(\S+:\d+:\d+) .+ — .+/.exec(line)?.[1] ?? [])).toEqual([
      `${folder}/workflow.yaml:6:21`,
      `${folder}/workflow.yaml:7:1`,
      `${folder}/steps/a.ts:1:17`,
      `${folder}/steps/b.ts:2:26`,
    ]);
    expect(JSON.parse(stdout)).toMatchObject([
      { valid: false, errors: [{}, {}, {}, { code: 'forbidden_import' }] },
    ]);
  });

  it('may be symbolic links', async () => {
    await write({
      'shared/a.ts': 'export default () => 1;\n',
      'w/workflow.yaml': workflow('linked', 'steps/a.ts'),
    });
    await mkdir(join(folder, 'w/steps'));
    await symlink('../../shared/a.ts', join(folder, 'w/steps/a.ts'));
    expect(await cli('deploy', join(folder, 'w'))).toMatchObject({ code: 0 });
  });
});

describe('steps of Python', () => {
  it('go with the modules that they import', async () => {
    await write({
      'workflow.yaml': workflow('modules', 'steps/a.py'),
      'steps/a.py':
        'import os, json\nfrom lib import rates\nfrom .near import x\nimport beside\n\ndef run(ctx, input):\n    return 1\n',
      'steps/near.py': 'from ..lib.deep import (\n    one,\n    two,\n)\n',
      'steps/beside.py': '',
      'lib/__init__.py': '',
      'lib/rates.py': 'X = 1\n',
      'lib/deep/one.py': '',
      'lib/unused.py': '',
      'test_a.py': '',
    });
    expect(await cli('deploy', folder)).toMatchObject({ code: 0 });
    expect(await sent('modules')).toEqual([
      'lib/__init__.py',
      'lib/deep/one.py',
      'lib/rates.py',
      'steps/a.py',
      'steps/beside.py',
      'steps/near.py',
    ]);
  });

  it('are refused with file, line and column of a syntax error', async () => {
    await write({
      'workflow.yaml': workflow('syntax', 'a.py'),
      'a.py': 'def run(ctx, input):\n    return (1\n',
    });
    const { code, stderr } = await cli('validate', folder);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/a\.py:2:12 .*never closed — correct the code/),
    ]);
  });

  it('are refused with a requirement that has no hash', async () => {
    await write({
      'workflow.yaml': workflow('unhashed', 'a.py'),
      'a.py': 'def run(ctx, input):\n    return 1\n',
      'requirements.txt': '# packages\ntext-unidecode==1.3\n',
    });
    const { code, stderr } = await cli('validate', folder);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /requirements\.txt:2:1 `text-unidecode==1\.3` has no sha256 hash — .*pip-compile --generate-hashes/,
    );
  });

  it('are refused with a wheel that has another hash', async () => {
    await write({
      'workflow.yaml': workflow('forged', 'a.py'),
      'a.py': 'def run(ctx, input):\n    return 1\n',
      'requirements.txt': `text-unidecode==1.3 --hash=sha256:${'0'.repeat(64)}\n`,
    });
    const { code, stderr } = await cli('validate', folder);
    expect(code).toBe(1);
    expect(stderr).toMatch(/requirements\.txt.* pip: .*HASHES.* — find out why/s);
  });

  it('are refused with more than 50 MiB of wheels', async () => {
    const wheel = makeZip([
      { path: 'large/data.bin', content: randomBytes(BUNDLE_LIMITS.wheelBytes) },
      { path: 'large-1.dist-info/METADATA', content: 'Metadata-Version: 2.1\nName: large\nVersion: 1\n' },
      { path: 'large-1.dist-info/WHEEL', content: 'Wheel-Version: 1.0\nTag: py3-none-any\n' },
      { path: 'large-1.dist-info/RECORD', content: '' },
    ]);
    const packages = join(folder, 'packages');
    await mkdir(packages);
    await writeFile(join(packages, 'large-1-py3-none-any.whl'), wheel);
    const hash = createHash('sha256').update(wheel).digest('hex');
    await write({
      'workflow.yaml': workflow('large', 'a.py'),
      'a.py': 'def run(ctx, input):\n    return 1\n',
      'requirements.txt': `--no-index\n--find-links ${packages}\nlarge==1 --hash=sha256:${hash}\n`,
    });
    const { code, stderr } = await cli('validate', folder);
    expect(code).toBe(1);
    expect(stderr).toMatch(/requirements\.txt.* the wheels have 50 MiB; at most 50 MiB .* — require less/);
  }, 60_000);
});

describe('the examples', () => {
  const example = async (name: string): Promise<string> => {
    const copy = join(folder, name);
    await cp(join(PROJECT_ROOT, 'examples', name), copy, {
      recursive: true,
      filter: (path) => !path.includes('node_modules'),
    });
    return copy;
  };

  it('closest-match: a package of npm', async () => {
    const copy = await example('closest-match');
    await run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: copy });
    expect(await cli('deploy', copy)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('version 1'),
    });
    const { source } = await program('closest-match', 'steps/match.ts');
    expect(Buffer.from(source).toString()).toContain('fastest-levenshtein');
  }, 120_000);

  it('slugs: packages of PyPI, from the cache the second time', async () => {
    const copy = await example('slugs');
    const first = await cli('deploy', copy);
    expect(first).toMatchObject({ code: 0, stderr: expect.stringContaining('downloading the wheels') });
    const { wheels } = await program('slugs', 'steps/slug.py');
    expect(wheels.map(({ name }) => name)).toEqual([
      'python_slugify-8.0.4-py2.py3-none-any.whl',
      'text_unidecode-1.3-py2.py3-none-any.whl',
    ]);
    expect(await sent('slugs')).toContain('steps/words.py');

    const second = await cli('deploy', copy);
    expect(second.stdout).toContain('unchanged');
    expect(second.stderr).not.toContain('downloading');
  }, 120_000);

  it('customer-lookup: a credential that the code never sees', async () => {
    const copy = await example('customer-lookup');
    const missing = await cli('deploy', copy);
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there is no credential `crm`'),
    });
    await api.tenant.call('PUT', '/api/v1/credentials/crm', {
      type: 'bearer',
      data: { token: 'a-token', baseUrl: 'https://crm.example.com' },
    });
    expect(await cli('deploy', copy)).toMatchObject({ code: 0 });
  });
});
