import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../support/processes.ts';
import { sourceFiles } from '../support/source-files.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);

interface Violation {
  readonly rule: string;
  readonly from: string;
  readonly to: string;
}

interface CruiseResult {
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: readonly {
      readonly rule: { readonly name: string };
      readonly from: string;
      readonly to: string;
    }[];
  };
}

const DEPCRUISE = join(PROJECT_ROOT, 'node_modules/.bin/depcruise');
const CONFIG = join(PROJECT_ROOT, '.dependency-cruiser.cjs');

/**
 * What the rules of .dependency-cruiser.cjs find in src/ below `directory`. In a process of its own: the tool makes
 * code from strings, which tests may no more than production.
 */
async function violations(directory: string): Promise<{ modules: number; found: readonly Violation[] }> {
  const args = [DEPCRUISE, 'src', '--config', CONFIG, '--output-type', 'json'];
  const result = await run(process.execPath, args, { cwd: directory, maxBuffer: 64 * 1024 * 1024 }).catch(
    (raw: unknown) => {
      const { code, stdout } = raw as { readonly code?: unknown; readonly stdout?: string };
      if (typeof code === 'number' && stdout?.startsWith('{')) return { stdout }; // the number of violations
      throw raw;
    },
  );
  const { summary } = JSON.parse(result.stdout) as CruiseResult;
  return {
    modules: summary.totalCruised,
    found: summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })),
  };
}

describe('the import graph', { timeout: 120_000 }, () => {
  it('keeps the directions of ARCHITECTURE.md', async () => {
    const { modules, found } = await violations(PROJECT_ROOT);

    expect(found).toEqual([]);
    expect(modules).toBeGreaterThan(100); // it did read the sources
  });

  const cases: readonly (readonly [rule: string, files: Readonly<Record<string, string>>])[] = [
    ['no-cycles', { 'src/core/a.ts': `import './b.ts';`, 'src/core/b.ts': `import './a.ts';` }],
    ['core-knows-nothing-outside', { 'src/core/a.ts': `import '../api/b.ts';`, 'src/api/b.ts': '' }],
    ['processes-know-core-alone', { 'src/api/a.ts': `import '../worker/b.ts';`, 'src/worker/b.ts': '' }],
    ['processes-know-core-alone', { 'src/worker/a.ts': `import '../api/b.ts';`, 'src/api/b.ts': '' }],
    ['only-dev-composes-processes', { 'src/cli/list.ts': `import '../api/b.ts';`, 'src/api/b.ts': '' }],
    ['pure-files-import-pure-files', { 'src/core/definition/a.ts': `import 'node:fs';` }],
    [
      'pure-files-import-pure-files',
      { 'src/core/executions/plan.ts': `import '../db/a.ts';`, 'src/core/db/a.ts': '' },
    ],
    ['pure-files-only-hash', { 'src/core/expressions/a.ts': `import 'node:crypto';` }],
    ['no-code-from-strings', { 'src/worker/a.ts': `await import('node:vm');` }],
    ['tests-stay-outside', { 'src/core/a.ts': `import './b.test.ts';`, 'src/core/b.test.ts': '' }],
  ];
  it.each(cases)('would show a breach of %s', async (rule, files) => {
    const directory = await makeTempDirectory();
    for (const [file, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, file)), { recursive: true });
      await writeFile(join(directory, file), `${text}\nexport {};\n`);
    }

    expect((await violations(directory)).found.map((violation) => violation.rule)).toContain(rule);
  });

  it('lets the command that runs everything compose the processes', async () => {
    const directory = await makeTempDirectory();
    await mkdir(join(directory, 'src/cli'), { recursive: true });
    await mkdir(join(directory, 'src/api'));
    await writeFile(join(directory, 'src/cli/dev.ts'), `import '../api/b.ts';\n`);
    await writeFile(join(directory, 'src/api/b.ts'), 'export {};\n');

    expect((await violations(directory)).found).toEqual([]);
  });
});

describe('the sources', () => {
  const isMain = (file: string): boolean => /^src\/(cli\/|[a-z/]+\/main\.ts$)/.test(file);

  it('read the environment in main files and the command line alone', async () => {
    for (const file of (await sourceFiles()).filter(
      (path) => !isMain(path) && !path.endsWith('.fixture.ts'),
    )) {
      expect.soft(await readFile(join(PROJECT_ROOT, file), 'utf8'), file).not.toMatch(/\bprocess\.env\b/);
    }
  });

  // The expressions' time limit needs a clock; it decides when to give up, never what the result is.
  const pure = (file: string): boolean =>
    /^src\/core\/(definition\/|expressions\/|executions\/(status|machine|plan|retry|journal)\.ts$)/.test(
      file,
    ) && file !== 'src/core/expressions/frame.ts';

  it('keep clock, randomness and timers out of pure files', async () => {
    const files = (await sourceFiles()).filter(pure);
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) {
      expect
        .soft(await readFile(join(PROJECT_ROOT, file), 'utf8'), file)
        .not.toMatch(
          /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bMath\.random\b|\bset(Timeout|Interval)\b/,
        );
    }
  });
});
