import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../support/processes.ts';
import { runRow } from './harness/row.ts';
import { startStage, type Stage } from './harness/stage.ts';
import { GROUPS } from './rows/all.ts';

/** The built platform with one of its protections taken out; its row has to notice. */
export interface Mutant {
  /** The row that is about this protection. */
  readonly row: string;
  readonly without: string;
  /** In dist/. */
  readonly file: string;
  /** Is there exactly once, as in the source of that file. */
  readonly from: string;
  readonly to: string;
  /** What the row has to fail with: anything else is no sign that it noticed. */
  readonly noticedBy: RegExp;
  /** The row takes a minute or more to notice. */
  readonly isSlow?: true;
}

export const MUTANTS: readonly Mutant[] = [
  {
    row: 'R11',
    without: 'the journal when an execution is taken over',
    file: 'core/executions/claims.js',
    from: 'c.dispatch_number > 1 or c.retry_of is not null as has_journal',
    to: 'false as has_journal',
    noticedBy: /a step whose outcome was recorded ran again/,
  },
  {
    row: 'R25',
    without: 'the unique key of a delivery',
    file: 'core/deliveries/ingest.js',
    from: 'where key is null or id in (select delivery_id from keys)',
    to: '',
    noticedBy: /more than one of the same deliveries was taken for the first/,
  },
  {
    row: 'R39',
    without: 'locks on the rows that a dispatcher claims',
    file: 'core/executions/claims.js',
    from: `order by next_dispatch_at limit q.take
        for no key update skip locked`,
    to: 'order by next_dispatch_at limit q.take',
    noticedBy: /executions were claimed more than once/,
  },
  {
    row: 'R07',
    without: 'the look at Redis’ eviction policy',
    file: 'core/hints/redis.js',
    from: `policy === 'noeviction'`,
    to: 'policy.length > 0',
    noticedBy: /in vain for the process to refuse/,
    isSlow: true,
  },
  {
    row: 'R12',
    without: 'the lease in what a worker writes',
    file: 'core/executions/journal-store.js',
    from: 'e.id = w.id and e.lease_id = w.lease_id and',
    to: 'e.id = w.id and',
    noticedBy: /the sleeper’s late write counted/,
    isSlow: true,
  },
  {
    row: 'R14',
    without: 'workers that look for due executions',
    file: 'worker/dispatcher.js',
    from: 'polling = detached(deps.tracing, look)',
    to: 'polling = Promise.resolve()',
    noticedBy: /in vain for executions without a hint to start/,
    isSlow: true,
  },
];

/** Whether the row failed, and for the reason that the mutant is about. */
export const isNoticed = ({ noticedBy }: Mutant, failure: Error | undefined): failure is Error =>
  failure !== undefined && noticedBy.test(failure.message);

/**
 * Makes the mutant and runs its row.
 *
 * @param onStage is given the stage, for whoever has to close it when the process is told to end
 * @returns what the row fails with, or undefined when it notices nothing
 * @throws Error when the mutant does not fit the code, or the row there is not
 */
export async function runMutant(
  { row: id, file, from, to }: Mutant,
  onStage: (stage: Stage) => void = () => undefined,
): Promise<Error | undefined> {
  const group = GROUPS.find(({ rows }) => rows.some((row) => row.id === id));
  const row = group?.rows.find((one) => one.id === id);
  if (group === undefined || row === undefined) throw new Error(`There is no row ${id}.`);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-mutant-'));
  try {
    const built = join(folder, 'dist');
    await cp(join(PROJECT_ROOT, 'dist'), built, { recursive: true });
    await cp(join(PROJECT_ROOT, 'package.json'), join(folder, 'package.json'));
    await symlink(join(PROJECT_ROOT, 'node_modules'), join(folder, 'node_modules'));
    const source = await readFile(join(built, file), 'utf8');
    if (source.split(from).length !== 2)
      throw new Error(`${file} does not have ${JSON.stringify(from)} once.`);
    await writeFile(
      join(built, file),
      source.replace(from, () => to),
    );
    const stage = await startStage({ ...group.stage, builtFolder: built });
    onStage(stage);
    try {
      await runRow(row, stage);
      return undefined;
    } catch (raw) {
      return raw instanceof Error ? raw : new Error(String(raw));
    } finally {
      await stage.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
