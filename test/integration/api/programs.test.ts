import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createBundler } from '../../../src/core/bundle/bundler.ts';
import { machineOf } from '../../../src/core/bundle/wheel-name.ts';
import { shipBundle } from '../../../src/core/bundle/shipped-bundle.ts';
import { createProgramLoader } from '../../../src/core/workflows/program-loader.ts';
import { makeZip } from '../../support/zip.ts';
import { startTestApi, type Answer, type TestApi, type TestTenant } from './harness.ts';

type Files = Readonly<Record<string, string | { readonly base64: string }>>;

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

const definition = (name: string, steps: readonly string[]): string =>
  `name: ${name}\ntriggers: { t: { manual: {} } }\nsteps:\n${steps.map((step, index) => `  - { id: s${index}, ${step} }\n`).join('')}`;
const put = (
  name: string,
  files: Files,
  steps: readonly string[] = ['code: steps/a.ts'],
  { tenant = api.tenant, query = '' }: { readonly tenant?: TestTenant; readonly query?: string } = {},
): Promise<Answer> =>
  tenant.call('PUT', `/api/v1/workflows/${name}${query}`, { definition: definition(name, steps), files });
const workflowId = async (name: string, tenant = api.tenant): Promise<string> => {
  const { rows } = await api.admin.query<{ id: string }>(
    `select id from workflow where name = $1 and tenant_id = $2`,
    [name, tenant.id],
  );
  return rows[0]!.id;
};
const countContents = async (tenant = api.tenant): Promise<number> => {
  const { rows } = await api.admin.query<{ count: string }>(
    `select count(*) from workflow_file where tenant_id = $1`,
    [tenant.id],
  );
  return Number(rows[0]!.count);
};
const problemsOf = ({ data }: Answer) =>
  data.errors.map(({ path, line, code }: Record<string, unknown>) => [path, line, code]);

const DOUBLE = `import { factor } from '../lib/factor';\nexport default async (ctx: unknown, input: { n: number }) => input.n * factor;\n`;
const FACTOR = 'export const factor: number = 2;\n';

describe('a step of TypeScript', () => {
  test('becomes a program when it is saved, which the worker loads', async () => {
    const answer = await put('ts', { 'steps/a.ts': DOUBLE, 'lib/factor.ts': FACTOR });
    expect(answer.data).toMatchObject({ name: 'ts', version: 1, warnings: [] });

    const load = createProgramLoader(api.engine);
    const program = await load(await workflowId('ts'), 1, 'steps/a.ts');

    expect(program).toMatchObject({ runtime: 'javascript', entry: 'steps/a.ts', wheels: [] });
    const code = Buffer.from(program!.source).toString();
    expect(code).toContain('module.exports = ');
    const line = code.split('\n').findIndex((text) => text.includes('input.n * factor')) + 1;
    expect(program!.mapStack(`Error: x\n    at f (steps/a.ts:${line}:40)\n    at runner.js:1:1`)).toMatch(
      /^Error: x\n {4}at f \(steps\/a\.ts:2:\d+\)$/,
    );
    expect(await load(await workflowId('ts'), 1, 'lib/factor.ts')).toBeUndefined();
    await expect(load(await workflowId('ts'), 2, 'steps/a.ts')).rejects.toThrow('no version 2');
  });

  test('is checked without being saved by ?dryRun=true', async () => {
    const answer = await put('dry', { 'steps/a.ts': 'export const x = 1;' }, undefined, {
      query: '?dryRun=true',
    });
    expect([answer.status, problemsOf(answer)]).toEqual([
      422,
      [['files["steps/a.ts"]', undefined, 'missing_export']],
    ]);
  });

  test('is refused with every problem of the document and of its files at once', async () => {
    const answer = await put(
      'wrong',
      {
        'steps/a.ts': `import _ from 'lodash';\nimport fs from 'node:fs';\nexport default () => [_, fs];\n`,
        'steps/b.ts': 'export default (',
        '../c.ts': '1',
      },
      ['code: steps/a.ts', 'code: steps/b.ts', 'code: steps/missing.ts', 'transform: "1 +"'],
    );
    expect([answer.status, answer.data.code]).toEqual([422, 'workflow_invalid']);
    expect(problemsOf(answer)).toEqual([
      ['steps[2].code', 6, 'unknown_file'],
      ['steps[3].transform', 7, 'invalid_expression'],
      ['files["../c.ts"]', undefined, 'invalid_value'],
      ['files["steps/a.ts"]', 1, 'unresolved_import'],
      ['files["steps/a.ts"]', 2, 'forbidden_import'],
      ['files["steps/b.ts"]', 1, 'syntax_error'],
    ]);
    for (const { fix } of answer.data.errors) expect(fix).toMatch(/\w/);
    expect(answer.data.errors[3].fix).toContain('millrace deploy');
  });

  test('may have at most 5 MiB', async () => {
    const answer = await put('large', {
      'steps/a.ts': `export default () => '${'x'.repeat(6 * 1024 * 1024)}';`,
    });
    expect([answer.status, problemsOf(answer)]).toEqual([
      422,
      [['files["steps/a.ts"]', undefined, 'too_large']],
    ]);
    expect(answer.data.errors[0].message).toContain('at most 5 MiB');
  });

  test('is told apart from that of another tenant', async () => {
    const other = await api.makeTenant('programs-other');
    await put('mine', { 'steps/a.ts': 'export default () => "mine";' });
    await put('mine', { 'steps/a.ts': 'export default () => "theirs";' }, undefined, { tenant: other });
    const load = createProgramLoader(api.engine);
    const mine = await load(await workflowId('mine'), 1, 'steps/a.ts');
    const theirs = await load(await workflowId('mine', other), 1, 'steps/a.ts');
    expect(Buffer.from(mine!.source).toString()).toContain('"mine"');
    expect(Buffer.from(theirs!.source).toString()).toContain('"theirs"');
    expect(mine!.id).not.toBe(theirs!.id);
  });
});

describe('a bundle of millrace deploy', () => {
  const entry = 'steps/a.ts';
  const source = `import _ from 'lodash';\nexport default () => _;\n`;
  const code = 'var lodash = { x: 1 };\nmodule.exports = { default: () => lodash };\n';
  const map = JSON.stringify({ version: 3, sources: [entry], names: [], mappings: 'AACA' });
  const ship = (text: string, built = code): Files =>
    shipBundle(entry, { code: built, map, sources: { [entry]: Buffer.from(text) } });

  test('is what runs', async () => {
    const answer = await put('shipped', { [entry]: source, ...ship(source) });
    expect([answer.status, answer.data.warnings]).toEqual([201, []]);
    const program = await createProgramLoader(api.engine)(await workflowId('shipped'), 1, entry);
    expect(Buffer.from(program!.source).toString()).toBe(code);
    expect(program!.mapStack(`Error: x\n    at f (${entry}:1:5)`)).toBe(`Error: x\n    at f (${entry}:2:1)`);
  });

  test.each([
    ['of other sources', () => ({ [entry]: `${source}//`, ...ship(source) }), '.js', 'stale_bundle'],
    ['of a source that was not sent', () => shippedWithout(), '.js', 'stale_bundle'],
    [
      'without a manifest',
      () => ({ [entry]: source, [`.millrace/bundles/${entry}.js`]: code }),
      '.js',
      'stale_bundle',
    ],
    [
      'that cannot be parsed',
      () => ({ [entry]: source, ...ship(source, 'module.exports = (') }),
      '.js',
      'syntax_error',
    ],
    [
      'that imports what is not in it',
      () => ({ [entry]: source, ...ship(source, 'module.exports = require("lodash")') }),
      '.js',
      'unresolved_import',
    ],
    [
      'with files that are none of its own',
      () => ({ [entry]: source, ...ship(source), '.millrace/x': '' }),
      'x',
      'reserved_path',
    ],
  ])('%s is refused', async (_, files, suffix, code) => {
    const answer = await put('refused', files());
    const path = suffix === 'x' ? '.millrace/x' : `.millrace/bundles/${entry}${suffix}`;
    expect([answer.status, problemsOf(answer).map(([at, , is]: string[]) => [at, is])]).toEqual([
      422,
      [[`files["${path}"]`, code]],
    ]);
  });

  const shippedWithout = (): Files => ({
    [entry]: source,
    ...shipBundle(entry, {
      code,
      map,
      sources: { [entry]: Buffer.from(source), 'lib/x.ts': Buffer.from('') },
    }),
  });
});

const wheel = (name: string, platform = 'any') => {
  const content = makeZip([{ path: `${name}/__init__.py`, content: 'X = 1' }]);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const tag = platform === 'any' ? 'py3-none' : 'cp311-cp311';
  return {
    path: `wheels/${name}-1.0-${tag}-${platform}.whl`,
    file: { base64: content.toString('base64') },
    sha256,
    line: `${name}==1.0 --hash=sha256:${sha256}\n`,
  };
};

describe('a step of Python', () => {
  const python = ['code: steps/a.py'];
  const RUN = 'import helper\ndef run(ctx, input):\n    return helper.double(input)\n';
  const HELPER = 'def double(x):\n    return x * 2\n';

  test('becomes a program of all modules, with its wheels', async () => {
    const one = wheel('one');
    const native = wheel('native', `manylinux_2_17_${machineOf(process.arch)}`);
    const answer = await put(
      'py',
      {
        'steps/a.py': RUN,
        'steps/helper.py': HELPER,
        'requirements.txt': `# made by pip-compile\n${one.line}${native.line}`,
        [one.path]: one.file,
        [native.path]: native.file,
      },
      python,
    );
    expect([answer.status, answer.data.warnings]).toEqual([201, []]);

    const program = await createProgramLoader(api.engine)(await workflowId('py'), 1, 'steps/a.py');
    expect(program).toMatchObject({ runtime: 'python', entry: 'steps/a.py' });
    expect(JSON.parse(Buffer.from(program!.source).toString())).toEqual({
      entry: 'steps/a.py',
      files: { 'steps/a.py': RUN, 'steps/helper.py': HELPER },
    });
    expect(program!.wheels.map(({ name, sha256 }) => ({ path: `wheels/${name}`, sha256 }))).toEqual(
      [native, one].map(({ path, sha256 }) => ({ path, sha256 })),
    );
    const bytes = await program!.wheels[0]!.load();
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(program!.wheels[0]!.sha256);
  });

  test.each<[string, () => Files, readonly [string, number | undefined, string][]]>([
    [
      'a wheel that is not listed',
      () => ({ 'requirements.txt': '', [wheel('one').path]: wheel('one').file }),
      [[`files["${wheel('one').path}"]`, undefined, 'invalid_wheel']],
    ],
    [
      'a wheel that was not sent',
      () => ({ 'requirements.txt': `\n${wheel('one').line}` }),
      [['files["requirements.txt"]', 2, 'missing_wheel']],
    ],
    [
      'another wheel than the one that was hashed',
      () => ({
        'requirements.txt': wheel('one').line.replace(/sha256:../, 'sha256:00'),
        [wheel('one').path]: wheel('one').file,
      }),
      [
        [`files["${wheel('one').path}"]`, undefined, 'invalid_wheel'],
        ['files["requirements.txt"]', 1, 'missing_wheel'],
      ],
    ],
    [
      'a wheel for another platform',
      () => {
        const mac = wheel('one', 'macosx_11_0_arm64');
        return { 'requirements.txt': mac.line, [mac.path]: mac.file };
      },
      [
        [`files["${wheel('one', 'macosx_11_0_arm64').path}"]`, undefined, 'invalid_wheel'],
        ['files["requirements.txt"]', 1, 'missing_wheel'],
      ],
    ],
    [
      'a requirement without a hash',
      () => ({ 'requirements.txt': 'one==1.0\n' }),
      [['files["requirements.txt"]', 1, 'invalid_requirement']],
    ],
    [
      'a wheel that is no archive',
      () => {
        const sha256 = createHash('sha256').update('no zip').digest('hex');
        return {
          'requirements.txt': `one==1.0 --hash=sha256:${sha256}`,
          'wheels/one-1.0-py3-none-any.whl': { base64: Buffer.from('no zip').toString('base64') },
        };
      },
      [['files["wheels/one-1.0-py3-none-any.whl"]', undefined, 'invalid_wheel']],
    ],
    [
      'a module without run',
      () => ({ 'steps/a.py': 'def main():\n    pass\n' }),
      [['files["steps/a.py"]', undefined, 'missing_export']],
    ],
    [
      'a module that is no UTF-8',
      () => ({ 'steps/x.py': { base64: '/w==' } }),
      [['files["steps/x.py"]', undefined, 'syntax_error']],
    ],
  ])('is refused with %s', async (_, files, problems) => {
    const answer = await put('py-refused', { 'steps/a.py': RUN, ...files() }, python);
    expect([answer.status, problemsOf(answer)]).toEqual([422, problems]);
  });
});

describe('what is stored', () => {
  const big = Buffer.alloc(100_000, 'x');
  const files: Files = {
    'steps/a.ts': 'export default () => 1;\n',
    'notes.txt': 'é'.repeat(20_000),
    'odd.txt': '\ud800'.repeat(20_000),
    'big.bin': { base64: big.toString('base64') },
  };

  test('is given back as it was sent, or in short', async () => {
    const { data } = await put('stored', files);
    expect((await api.tenant.call('GET', '/api/v1/workflows/stored')).data.files).toEqual(files);
    expect((await api.tenant.call('GET', '/api/v1/workflows/stored/versions/1')).data.files).toEqual(files);

    const short = await api.tenant.call('GET', '/api/v1/workflows/stored/versions/1?files=summary');
    expect(short.data.files['big.bin']).toEqual({
      bytes: 100_000,
      sha256: createHash('sha256').update(big).digest('hex'),
    });
    expect(short.data.files['steps/a.ts']).toMatchObject({ bytes: 24 });
    expect(short.data.contentHash).toBe(data.contentHash);
    expect((await api.tenant.call('GET', '/api/v1/workflows/stored?files=all')).status).toBe(400);
  });

  test('is kept once for all versions', async () => {
    await put('shared', { ...files, 'steps/a.ts': 'export default () => 2;\n' });
    const before = await countContents();
    await put('shared', { ...files, 'steps/a.ts': 'export default () => 3;\n' });
    // The program and its map.
    expect((await countContents()) - before).toBeLessThanOrEqual(2);
  });

  test('two that save the same contents at once wait for each other, not in a circle', async () => {
    const tenant = await api.makeTenant('contents-race');
    const contents = Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [
        `f${index}.bin`,
        { base64: Buffer.from(`content ${index}`).toString('base64') },
      ]),
    );
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        put(`race-${index}`, { 'steps/a.ts': 'export default () => 1;\n', ...contents }, undefined, {
          tenant,
        }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    expect(await countContents(tenant)).toBe(22);
  });

  test('is restored with programs made anew', async () => {
    await put('back', { 'steps/a.ts': 'export default () => "first";\n' });
    await put('back', { 'steps/a.ts': 'export default () => "second";\n' });
    const restored = await api.tenant.call('POST', '/api/v1/workflows/back/versions/1/restore');
    expect([restored.status, restored.data.version]).toEqual([201, 3]);
    const program = await createProgramLoader(api.engine)(await workflowId('back'), 3, 'steps/a.ts');
    expect(Buffer.from(program!.source).toString()).toContain('"first"');
  });

  test('is seen by no other tenant', async () => {
    const other = await api.makeTenant('contents-other');
    const { rows } = await api.db.query(`select 1 from workflow_file`);
    expect(rows).toEqual([]);
    const seen = await api.db.transaction(async (client) => {
      await client.query(`select set_config('millrace.tenant', $1, true)`, [other.id]);
      return client.query(`select 1 from workflow_file`);
    });
    expect(seen.rows).toEqual([]);
  });
});

describe('a tenant’s maxima', () => {
  test('bound what a step may ask for', async () => {
    const tenant = await api.makeTenant('small');
    await api.admin.query(
      `update tenant set max_sandbox_memory_bytes = 268435456, max_sandbox_cpus = 1 where id = $1`,
      [tenant.id],
    );
    const step = (resources: string) => [`code: steps/a.ts, resources: ${resources}`];
    const files = { 'steps/a.ts': 'export default () => 1;\n' };
    const refused = await put('r', files, step('{ memory: 1Gi, cpu: 2 }'), { tenant });
    expect(refused.data.errors.map(({ path, line }: { path: string; line: number }) => [path, line])).toEqual(
      [
        ['steps[0].resources.memory', 4],
        ['steps[0].resources.cpu', 4],
      ],
    );
    expect((await put('r', files, step('{ memory: 256Mi, cpu: 1 }'), { tenant })).status).toBe(201);
    expect((await put('r', files, step('{ memory: 1Gi, cpu: 2 }'))).status).toBe(201);
  });
});

test('saving holds no connection while it bundles', async () => {
  const bundler = createBundler();
  onTestFinished(() => bundler.close());
  const busy: number[] = [];
  const watched: TestApi = await startTestApi({
    deps: {
      bundler: {
        ...bundler,
        bundle: async (...args) => {
          const { total, idle } = watched.db.stats();
          busy.push(total - idle);
          return bundler.bundle(...args);
        },
      },
    },
  });
  onTestFinished(() => watched.close());

  const answer = await put('busy', { 'steps/a.ts': 'export default () => 1;\n' }, undefined, {
    tenant: watched.tenant,
  });

  expect([answer.status, busy]).toEqual([201, [0]]);
});
