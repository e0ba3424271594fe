// `npm run bench:compare [-- --runs 3 --webhooks 1000]`: the same load on Millrace and on n8n, in turns, side by side.
import { parseArgs } from 'node:util';
import build from '../../test/support/build-setup.ts';
import { describeMachine } from '../platform/machine.ts';
import { startServices } from '../platform/services.ts';
import { spreadOf } from '../statistics.ts';
import { FIGURES } from '../targets.ts';
import { millrace } from './millrace.ts';
import { installN8n } from './n8n.ts';
import type { Measured, System } from './system.ts';

const USAGE = 'Usage: npm run bench:compare [-- --runs <1-20> --webhooks <100-100000>]';

const ROWS: readonly {
  readonly key: keyof Measured;
  readonly title: string;
  readonly isMoreBetter: boolean;
}[] = [
  { key: 'acceptsPerSecond', title: 'webhooks accepted/s, a worker running', isMoreBetter: true },
  { key: 'executionsPerSecond', title: 'executions of 3 steps/s', isMoreBetter: true },
  { key: 'acceptP50Ms', title: 'accept p50, ms', isMoreBetter: false },
  { key: 'acceptP99Ms', title: 'accept p99, ms', isMoreBetter: false },
];

const say = (text: string): void => void process.stderr.write(`${text}\n`);

function parseSettings(): { readonly runs: number; readonly webhooks: number } {
  const { values } = parseArgs({
    options: { runs: { type: 'string', default: '3' }, webhooks: { type: 'string', default: '1000' } },
  });
  const [runs, webhooks] = [Number(values.runs), Number(values.webhooks)];
  const isWithin = (n: number, min: number, max: number): boolean =>
    Number.isInteger(n) && n >= min && n <= max;
  if (!isWithin(runs, 1, 20) || !isWithin(webhooks, 100, 100_000)) throw new Error(USAGE);
  return { runs, webhooks };
}

async function main(): Promise<void> {
  const { runs, webhooks } = parseSettings();
  await build();
  const n8n = await installN8n(say).catch((raw: unknown) => {
    say(`n8n cannot be installed here: ${raw instanceof Error ? raw.message.slice(0, 500) : String(raw)}`);
    return undefined;
  });
  const systems = [millrace, ...(n8n === undefined ? [] : [n8n])];
  const services = await startServices({ traceStatements: false });
  try {
    const results = new Map<System, Measured[]>(systems.map((system) => [system, []]));
    for (let run = 1; run <= runs; run++) {
      for (const system of run % 2 === 1 ? systems : systems.toReversed()) {
        say(`run ${run}/${runs}, ${system.name}`);
        results.get(system)!.push(await system.measure(services, webhooks)); // made above
      }
    }
    const machine = await describeMachine();
    process.stdout.write(
      `${runs} runs in turns of ${webhooks} webhooks each, medians (lowest–highest); ${machine.cores} cores of ${machine.cpu}, commit ${machine.commit}\n`,
    );
    for (const row of ROWS) process.stdout.write(`${describe(row, results, n8n)}\n`);
    if (n8n === undefined) process.stdout.write(`${publishedFigures()}\n`);
  } finally {
    await services.stop();
  }
}

function describe(
  { key, title, isMoreBetter }: (typeof ROWS)[number],
  results: ReadonlyMap<System, readonly Measured[]>,
  n8n: System | undefined,
): string {
  const spreads = [...results].map(([system, runs]) => ({
    system,
    ...spreadOf(runs.map((run) => run[key])),
  }));
  const texts = spreads.map(
    ({ system, median, min, max }) =>
      `${system.name} ${median.toFixed(0)} (${min.toFixed(0)}–${max.toFixed(0)})`,
  );
  const [ours, theirs] = spreads;
  if (n8n === undefined || ours === undefined || theirs === undefined) return `${title}: ${texts.join(', ')}`;
  const ratio = isMoreBetter ? ours.median / theirs.median : theirs.median / ours.median;
  return `${title}: ${texts.join(', ')}: ${ratio.toFixed(1)} times better`;
}

/** What was measured on a machine like the project's, where n8n could be installed. */
function publishedFigures(): string {
  const { mixedAcceptsPerSecond, transformPerSecond } = FIGURES;
  return (
    `n8n 2.8.4, measured elsewhere: ${mixedAcceptsPerSecond.n8n.from}–${mixedAcceptsPerSecond.n8n.to} webhooks accepted/s, ` +
    `${transformPerSecond.n8n.from} executions/s`
  );
}

await main().catch((raw: unknown) => {
  say(`The comparison failed: ${raw instanceof Error ? raw.message : String(raw)}`);
  process.exitCode = 1;
});
