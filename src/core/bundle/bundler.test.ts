import { execFile } from 'node:child_process';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { BundleLimitError, createBundler, wallArguments } from './bundler.ts';
import type { BundleResult, JavascriptTarget } from './esbuild.ts';
import { JAVASCRIPT_TARGET } from './target.ts';

const run = promisify(execFile);
const target: JavascriptTarget = { ...JAVASCRIPT_TARGET, builtins: ['crypto', 'util'] };
const bundler = createBundler();
afterAll(() => bundler.close());

const bundle = (files: Readonly<Record<string, string>>, entry = 'steps/a.ts'): Promise<BundleResult> =>
  bundler.bundle('tenant', { entry, files: new Map(Object.entries(files)), target });
const faultsOf = async (text: string, more: Readonly<Record<string, string>> = {}) => {
  const result = await bundle({ 'steps/a.ts': text, ...more });
  return result.ok ? [] : result.faults;
};

describe('a step', () => {
  it('becomes one CommonJS script with all that it imports', async () => {
    const result = await bundle({
      'steps/a.ts': `import { factor } from '../lib/factor.js';\nimport data from '../data.json';\nimport note from './note.txt';\nimport { randomUUID } from 'crypto';\nexport default async (ctx: unknown, n: number) => n * factor * data.x + note + randomUUID();\nexport const other = 'not needed';\n`,
      'lib/factor.ts': 'export const factor: number = 2;\nexport const unused = 3;\n',
      'data.json': '{"x": 3}',
      'steps/note.txt': 'a note',
    });

    if (!result.ok) throw new Error(JSON.stringify(result.faults));
    expect(result.code).toContain('module.exports = ');
    expect(result.code).toContain('require("node:crypto")');
    expect(result.code).not.toContain('unused');
    expect(result.code).not.toContain('not needed');
    expect(result.inputs.toSorted()).toEqual(['data.json', 'lib/factor.ts', 'steps/a.ts', 'steps/note.txt']);
    expect(JSON.parse(result.map)).toMatchObject({
      sources: expect.arrayContaining(['steps/a.ts', 'lib/factor.ts']),
    });
    expect(JSON.parse(result.map)).not.toHaveProperty('sourcesContent.0');
  });

  it.each([
    ['another language version', 'steps/a.mts', { 'steps/a.mts': 'export default () => 1;' }],
    ['JSX', 'a.jsx', { 'a.jsx': 'const h = () => 1;\nexport default () => <h />;' }],
    ['CommonJS', 'a.cjs', { 'a.cjs': 'module.exports = async () => 1;' }],
    [
      'a default export of another file',
      'a.js',
      { 'a.js': `export { default } from './b';`, 'b.js': 'export default 1;' },
    ],
    ['an index file', 'a.js', { 'a.js': `import './lib';\nexport default 1;`, 'lib/index.ts': 'export {};' }],
  ])('may be %s', async (_, entry, files) => {
    expect(await bundle(files, entry)).toMatchObject({ ok: true });
  });

  it('is warned of what is odd in it', async () => {
    const result = await bundle({ 'steps/a.ts': 'export default () => ({ a: 1, a: 2 });' });
    expect(result).toMatchObject({
      ok: true,
      warnings: [
        { message: expect.stringContaining('Duplicate key'), file: 'steps/a.ts', line: 1, column: 31 },
      ],
    });
  });
});

describe('faults', () => {
  it.each([
    ['a syntax error', 'const é = "é" export default 1', 'syntax_error', 1, 15],
    [
      'waiting outside of a function',
      '\nconst x = await fetch("x");\nexport default () => x;',
      'syntax_error',
      2,
      11,
    ],
    ['a package', `\nimport _ from 'lodash';\nexport default _;`, 'unresolved_import', 2, 15],
    ['a missing file', `export { default } from './b';`, 'unresolved_import', 1, 25],
    ['a path above the workflow', `export { default } from '../../b';`, 'unresolved_import', 1, 25],
    ['an absolute path', `export { default } from '/etc/passwd';`, 'unresolved_import', 1, 25],
    ['a URL', `export { default } from 'https://example.com/x.js';`, 'unresolved_import', 1, 25],
    ['a data URL', `export { default } from 'data:text/javascript,1';`, 'unresolved_import', 1, 25],
    ['a file that is no code', `export { default } from './a.wasm';`, 'unresolved_import', 1, 25],
    ['a forbidden module', `import fs from 'node:fs';\nexport default fs;`, 'forbidden_import', 1, 16],
    [
      'the same without node:',
      `import fs from 'fs/promises';\nexport default fs;`,
      'forbidden_import',
      1,
      16,
    ],
    ['a required one', `module.exports = require('child_process');`, 'forbidden_import', 1, 26],
  ])('%s is told with file, line and column', async (_, text, code, line, column) => {
    expect(await faultsOf(text, { 'steps/a.wasm': '' })).toMatchObject([
      { code, file: 'steps/a.ts', line, column },
    ]);
  });

  it.each([
    ['other exports', 'export const x = 1;'],
    ['nothing', ''],
    ['code without exports', 'const x = 1;'],
  ])('%s is a missing export', async (_, text) => {
    expect(await faultsOf(text)).toEqual([
      { code: 'missing_export', message: 'there is no default export', file: 'steps/a.ts' },
    ]);
  });

  it('in an imported file name that file', async () => {
    expect(
      await faultsOf(`export { default } from '../lib/b';`, { 'lib/b.ts': '\nlet let = 1;' }),
    ).toMatchObject([{ code: 'syntax_error', file: 'lib/b.ts', line: 2 }]);
  });

  it('are told all at once', async () => {
    const faults = await faultsOf(`import a from 'a';\nimport b from 'b';\nexport default a + b;`);
    expect(faults.map(({ specifier }) => specifier)).toEqual(['a', 'b']);
  });
});

describe('limits', () => {
  it('code that is nested too deeply ends its process, and the next step gets another one', async () => {
    const deep = `export default ${'['.repeat(200_000)}${']'.repeat(200_000)};`;
    await expect(bundle({ 'steps/a.ts': deep })).rejects.toThrow(BundleLimitError);
    expect(await bundle({ 'steps/a.ts': 'export default 1;' })).toMatchObject({ ok: true });
  });

  it('a step that takes too long is given up', async () => {
    const impatient = createBundler({ timeoutMs: 20 });
    const files = new Map([['a.ts', 'export default 1;']]);
    await expect(impatient.bundle('t', { entry: 'a.ts', files, target })).rejects.toThrow(
      /longer than 0\.02 s/,
    );
    await impatient.close();
  });

  it('a process that cannot be started fails what it was to bundle, and nothing else', async () => {
    const { execPath } = process;
    process.execPath = '/nowhere/node';
    onTestFinished(() => void (process.execPath = execPath));
    const helpless = createBundler();
    const files = new Map([['a.ts', 'export default 1;']]);
    await expect(helpless.bundle('t', { entry: 'a.ts', files, target })).rejects.toThrow(/nowhere/);
    // What was to be sent to it fails by itself, a moment later.
    await setImmediate();
  });

  it('a step that takes too much memory is given up', async () => {
    const small = createBundler({ maxMemoryBytes: 48 * 1024 * 1024 });
    const lines = Array.from({ length: 200_000 }, (_, index) => `export const a${index} = [${index}, 'x'];`);
    const files = new Map([['a.ts', `${lines.join('\n')}\nexport default 1;`]]);
    await expect(small.bundle('t', { entry: 'a.ts', files, target })).rejects.toThrow(/too much memory/);
    await small.close();
  });

  it('ten steps of five tenants at once are all bundled', async () => {
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        bundler.bundle(`tenant-${index % 5}`, {
          entry: 'a.ts',
          files: new Map([['a.ts', `export default ${index};`]]),
          target,
        }),
      ),
    );
    for (const [index, result] of results.entries()) {
      expect(result).toMatchObject({ ok: true, code: expect.stringContaining(`default = ${index};`) });
    }
  });
});

describe('the wall', () => {
  it('lets the process read its own files alone, start nothing, and see no environment', async () => {
    const probe = `
      const { readFileSync, readdirSync, writeFileSync } = require('node:fs');
      const codes = [
        () => readFileSync('/etc/passwd'),
        () => readFileSync('/proc/self/environ'),
        () => readdirSync('/'),
        () => writeFileSync('/tmp/millrace-probe', ''),
        () => require('node:child_process').spawnSync('true'),
        () => new (require('node:worker_threads').Worker)('1', { eval: true }),
        () => eval('1'),
      ].map((attempt) => { try { attempt(); return 'done'; } catch (error) { return error.code ?? error.name; } });
      console.log(JSON.stringify([codes, Object.keys(process.env)]));`;
    const { stdout } = await run(
      process.execPath,
      [...wallArguments([import.meta.dirname], 256 * 1024 * 1024), '-e', probe],
      { env: {} },
    );
    const denied = 'ERR_ACCESS_DENIED';
    expect(JSON.parse(stdout)).toEqual([[denied, denied, denied, denied, denied, denied, 'EvalError'], []]);
  });
});
