// `npm run faults [-- --only R01,R09 --minutes 60 --seed 7 | --mutants]`
import { randomInt } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describeMachine } from '../../bench/platform/machine.ts';
import build from '../support/build-setup.ts';
import { endOnSignals } from '../support/end-on-signals.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import type { Counts } from './harness/checker.ts';
import { runRow, type FaultGroup, type FaultRow } from './harness/row.ts';
import { startStage, type Stage } from './harness/stage.ts';
import { isNoticed, MUTANTS, runMutant } from './mutants.ts';
import { GROUPS } from './rows/all.ts';
import { parseSettings, USAGE, UsageError, type Settings } from './settings.ts';
import { renderDocument, renderTable, type RanRow } from './table.ts';

interface Entry {
  readonly group: FaultGroup;
  readonly row: FaultRow;
}

interface Failure {
  readonly row: FaultRow;
  readonly error: Error;
}

const DOCUMENT = join(PROJECT_ROOT, 'docs', 'guarantees.md');
const DEFAULT_TIMEOUT_MS = 180_000;
const ENTRIES: readonly Entry[] = GROUPS.flatMap((group) => group.rows.map((row) => ({ group, row })));

/** Runs rows, each on its group's stage; one that the row before used goes on serving while it is of the same group. */
function createRunner() {
  let current: { readonly group: FaultGroup; readonly stage: Promise<Stage> } | undefined;
  const close = async (): Promise<void> => {
    const closing = current;
    current = undefined;
    const stage = await closing?.stage.catch(() => undefined); // what could not be started has been closed
    await stage?.close();
  };
  return {
    close,
    /** @returns what was counted, or why it failed; no stage outlives a failure */
    async run({ group, row }: Entry): Promise<RanRow | Failure> {
      try {
        if (current?.group !== group) {
          await close();
          current = { group, stage: startStage(group.stage) };
        }
        const result = await inTime(row, runRow(row, await current.stage));
        return { row, result };
      } catch (raw) {
        const error = raw instanceof Error ? raw : new Error(String(raw));
        await close();
        return { row, error };
      }
    },
  };
}

type Runner = ReturnType<typeof createRunner>;

async function inTime<T>(row: FaultRow, work: Promise<T>): Promise<T> {
  const timeoutMs = row.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const done = new AbortController();
  const late = delay(timeoutMs, undefined, { signal: done.signal }).then(() => {
    throw new Error(`it was not done after ${timeoutMs / 1000} s`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
    late.catch(() => undefined); // aborted
  }
}

async function main(): Promise<number> {
  const ids = ENTRIES.map(({ row }) => row.id);
  const settings = parseSettings(process.argv.slice(2), ids, randomInt(2 ** 32));
  const { only, minutes } = settings;
  const entries = only === undefined ? ENTRIES : ENTRIES.filter(({ row }) => only.includes(row.id));
  await build();
  if (settings.mutants) return runMutants();
  const runner = createRunner();
  endOnSignals(() => runner.close(), say);
  try {
    return minutes === undefined
      ? await runEach(runner, entries, settings)
      : await runByChance(runner, entries, minutes, settings.seed);
  } finally {
    await runner.close();
  }
}

/** Each row once. What fails does not keep the others from being tried. */
async function runEach(runner: Runner, entries: readonly Entry[], settings: Settings): Promise<number> {
  const startedAt = performance.now();
  const ran: RanRow[] = [];
  const failures: Failure[] = [];
  for (const entry of entries) {
    const outcome = await runner.run(entry);
    if ('result' in outcome) ran.push(outcome);
    else {
      failures.push(outcome);
      tell(outcome);
    }
  }
  say(`\n${renderTable(ran)}\n\n${renderTotals(ran)}`);
  if (failures.length > 0) {
    say(`failed: ${failures.map(({ row }) => row.id).join(', ')}`);
    return 1;
  }
  if (settings.only === undefined) {
    const facts = { ...(await describeMachine()), date: new Date(), tookMs: performance.now() - startedAt };
    await writeFile(DOCUMENT, await renderDocument(DOCUMENT, await readFile(DOCUMENT, 'utf8'), ran, facts));
    say('docs/guarantees.md has the table of this run');
  }
  return 0;
}

/** Each has to be noticed; one that is not does not keep the others from being tried. */
async function runMutants(): Promise<number> {
  let unnoticed = 0;
  let current: Stage | undefined;
  endOnSignals(async () => current?.close(), say);
  for (const mutant of MUTANTS) {
    const failure = await runMutant(mutant, (stage) => (current = stage));
    const noticed = isNoticed(mutant, failure);
    if (!noticed) unnoticed++;
    const said = failure === undefined ? 'holds' : `fails: ${failure.message.split('\n')[0]}`;
    const outcome = noticed ? said : `NOT NOTICED, it ${said}`;
    say(`${mutant.row} without ${mutant.without}: ${outcome}`);
  }
  return unnoticed === 0 ? 0 : 1;
}

/** Rows by chance, until the time is over or one fails. */
async function runByChance(
  runner: Runner,
  entries: readonly Entry[],
  minutes: number,
  seed: number,
): Promise<number> {
  say(`seed ${seed}: the same picks again with --minutes ${minutes} --seed ${seed}, and --only as now`);
  const pick = createPicker(seed);
  const deadline = performance.now() + minutes * 60_000;
  const ran: RanRow[] = [];
  let failure: Failure | undefined;
  while (failure === undefined && performance.now() < deadline) {
    const outcome = await runner.run(entries[pick(entries.length)]!); // the picker stays within
    if ('result' in outcome) ran.push(outcome);
    else failure = outcome;
  }
  say(`\n${renderTotals(ran)}`);
  if (failure === undefined) return 0;
  tell(failure);
  say(`failed: ${failure.row.id}, the ${ran.length + 1}. pick of seed ${seed}`);
  return 1;
}

/** Mulberry32, as small generators go; what matters is that a seed says what follows. */
function createPicker(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function renderTotals(ran: readonly RanRow[]): string {
  const times = new Map<string, number>();
  for (const { row } of ran) times.set(row.id, (times.get(row.id) ?? 0) + 1);
  const sum = (name: keyof Counts): number =>
    ran.reduce((total, { result }) => total + result.counts[name], 0);
  const names = [
    'ok',
    'fail',
    'info',
    'lost',
    'phantom',
    'duplicates',
    'stuck',
    'reRun',
    'strayCalls',
  ] as const;
  const rows = [...times].map(([id, count]) => (count === 1 ? id : `${id} × ${count}`));
  return `${ran.length} rows held (${rows.join(', ')}): ${names.map((name) => `${name} ${sum(name)}`).join(', ')}`;
}

const tell = ({ row, error }: Failure): void =>
  say(`${row.id} ${row.fault}: FAILED\n${error.stack ?? error.message}`);

function say(message: string): void {
  process.stdout.write(`${message}\n`);
}

try {
  process.exitCode = await main();
} catch (raw) {
  if (!(raw instanceof UsageError)) throw raw;
  process.stderr.write(`${raw.message}\n${USAGE}\n`);
  process.exitCode = 2;
}
