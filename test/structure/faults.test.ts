import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { FaultGroup } from '../faults/harness/row.ts';
import { MUTANTS } from '../faults/mutants.ts';
import { GROUPS } from '../faults/rows/all.ts';
import { parseSettings, UsageError } from '../faults/settings.ts';
import { renderDocument, type RanRow } from '../faults/table.ts';
import { PROJECT_ROOT } from '../support/processes.ts';

const ROWS = join(PROJECT_ROOT, 'test/faults/rows');
const ids = GROUPS.flatMap(({ rows }) => rows.map(({ id }) => id));

const isGroup = (value: unknown): value is FaultGroup =>
  typeof value === 'object' && value !== null && 'rows' in value && 'stage' in value;

it('every group of rows is in the list that `npm run faults` runs', async () => {
  const groups: FaultGroup[] = [];
  for (const file of await readdir(ROWS)) {
    const exported = (await import(pathToFileURL(join(ROWS, file)).href)) as Readonly<
      Record<string, unknown>
    >;
    groups.push(...Object.values(exported).filter(isGroup));
  }
  expect(groups.map(({ name }) => name).toSorted()).toEqual(GROUPS.map(({ name }) => name).toSorted());
});

it('no two rows have the same id', () => {
  expect(ids).toEqual([...new Set(ids)]);
});

it('the table of docs/guarantees.md has only rows that there are, each once, in order', async () => {
  const document = await readFile(join(PROJECT_ROOT, 'docs/guarantees.md'), 'utf8');
  const listed = [...document.matchAll(/^\| ([RL]\d+) /gm)].map(([, id]) => id);
  expect(listed.length).toBeGreaterThan(0);
  expect(listed).toEqual(ids.toSorted().filter((id) => listed.includes(id)));
});

it.each(MUTANTS)('the mutant without $without fits the source of $file', async ({ row, file, from }) => {
  const source = await readFile(join(PROJECT_ROOT, 'src', file.replace(/\.js$/, '.ts')), 'utf8');
  expect(source.split(from)).toHaveLength(2);
  expect(ids).toContain(row);
});

describe('the command line of `npm run faults`', () => {
  const KNOWN = ['R01', 'R02'];

  it('runs each row once when it says nothing', () => {
    expect(parseSettings([], KNOWN, 7)).toEqual({
      only: undefined,
      minutes: undefined,
      seed: 7,
      mutants: false,
    });
  });

  it('takes rows, minutes and the seed of an earlier run', () => {
    const args = ['--only', 'R01, R02', '--minutes', '60', '--seed', '3'];
    expect(parseSettings(args, KNOWN, 7)).toEqual({ only: KNOWN, minutes: 60, seed: 3, mutants: false });
  });

  it.each([
    [['--only', 'R99'], /there is no "R99".*Rows are R01, R02/],
    [['--only', ''], /there is no ""/],
    [['--minutes', '0'], /--minutes must be a whole number from 1 to 1440, got "0"/],
    [['--minutes', '1.5'], /--minutes must be a whole number/],
    [['--minutes', 'ten'], /--minutes must be a whole number/],
    [['--minutes', '1', '--seed', '-1'], /--seed/],
    [['--seed', '1'], /give --minutes too/],
    [['--mutants', '--only', 'R01'], /leave out --only/],
    [['--fast'], /--fast/],
    [['R01'], /R01/],
  ])('refuses %j, saying what is allowed', (args, message) => {
    expect(() => parseSettings(args, KNOWN, 7)).toThrow(UsageError);
    expect(() => parseSettings(args, KNOWN, 7)).toThrow(message);
  });
});

describe('the table of docs/guarantees.md', () => {
  const COUNTS = {
    ok: 100,
    fail: 0,
    info: 3,
    lost: 0,
    phantom: 0,
    duplicates: 0,
    stuck: 0,
    reRun: 0,
    strayCalls: 0,
    repeatedInFlight: 2,
    executions: 101,
    lostLeases: 1,
  };
  const FACTS = {
    date: new Date(0),
    commit: 'abc1234',
    cores: 2,
    memoryGiB: 4,
    node: 'v24.0.0',
    tookMs: 90_000,
  };
  const ranRow = (id: `R${string}`): RanRow => ({
    row: { id, fault: 'a | b', during: '503', after: 'ok', closedBy: 'care', run: () => Promise.resolve([]) },
    result: { id, evidence: ['seen'], counts: COUNTS, tookMs: 1 },
  });
  const MARKS = ['<!-- begin: written by `npm run faults` -->', '<!-- end -->'] as const;
  const render = (document: string): Promise<string> =>
    renderDocument(join(PROJECT_ROOT, 'docs/guarantees.md'), document, [ranRow('R02'), ranRow('R01')], FACTS);

  it('takes the place of the one before, ordered by id, and leaves the rest of the document alone', async () => {
    const text = await render(`# Before\n\n${MARKS[0]}\n\nold\n\n${MARKS[1]}\n\nAfter.\n`);
    expect(text).toMatch(/^# Before\n\n<!-- begin[^]+<!-- end -->\n\nAfter\.\n$/);
    expect(text).not.toContain('old');
    expect(text.indexOf('| R01')).toBeLessThan(text.indexOf('| R02'));
    expect(text).toContain('a \\| b');
    expect(text).toContain('1970-01-01, commit abc1234');
    expect(text).toContain('200 requests accepted, 6 answered 5xx');
    expect(await render(text)).toBe(text);
  });

  it('is written nowhere when its marks are missing', async () => {
    await expect(render('# Before\n')).rejects.toThrow(/has to have the lines/);
  });
});
