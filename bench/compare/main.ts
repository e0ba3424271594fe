// `npm run bench:compare [-- --runs 3 --webhooks 1000 --with n8n,dbos,restate]`: the same load on Millrace and on others, in
// turns, side by side.
import { parseArgs } from 'node:util';
import build from '../../test/support/build-setup.ts';
import { describeMachine } from '../platform/machine.ts';
import { startServicesUntilSignal } from '../platform/services.ts';
import { spreadOf } from '../statistics.ts';
import { FIGURES } from '../targets.ts';
import { installDbos } from './dbos.ts';
import { millrace } from './millrace.ts';
import { installN8n } from './n8n.ts';
import { installRestate } from './restate.ts';
import type { Measured, System } from './system.ts';

/** What Millrace may be compared with, and how each is got. */
const OTHERS = { n8n: installN8n, dbos: installDbos, restate: installRestate } as const;
type Other = keyof typeof OTHERS;
const NAMES = Object.keys(OTHERS) as readonly Other[];

const USAGE = `Usage: npm run bench:compare [-- --runs <1-20> --webhooks <100-100000> --with <${NAMES.join(',')}>]`;

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

interface Settings {
  readonly runs: number;
  readonly webhooks: number;
  readonly others: readonly Other[];
}

function parseSettings(): Settings {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      webhooks: { type: 'string', default: '1000' },
      with: { type: 'string', default: NAMES.join(',') },
    },
  });
  const [runs, webhooks] = [Number(values.runs), Number(values.webhooks)];
  const asked = values.with.split(',').map((name) => name.trim());
  const others = NAMES.filter((name) => asked.includes(name));
  const isWithin = (n: number, min: number, max: number): boolean =>
    Number.isInteger(n) && n >= min && n <= max;
  if (!isWithin(runs, 1, 20) || !isWithin(webhooks, 100, 100_000) || others.length !== asked.length) {
    throw new Error(USAGE);
  }
  return { runs, webhooks, others };
}

/** Undefined when it cannot be had here, which is said. */
async function install(name: Other): Promise<System | undefined> {
  try {
    return await OTHERS[name](say);
  } catch (raw) {
    say(
      `${name} cannot be installed here: ${raw instanceof Error ? raw.message.slice(0, 500) : String(raw)}`,
    );
    return undefined;
  }
}

async function main(): Promise<void> {
  const { runs, webhooks, others } = parseSettings();
  await build();
  const systems: System[] = [millrace];
  let isN8nMissing = false;
  for (const name of others) {
    const system = await install(name);
    if (system !== undefined) systems.push(system);
    else if (name === 'n8n') isN8nMissing = true;
  }
  const { services } = await startServicesUntilSignal({ traceStatements: false });
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
    for (const row of ROWS) process.stdout.write(describe(row, results));
    if (isN8nMissing) process.stdout.write(`${publishedFigures()}\n`);
  } finally {
    await services.stop();
  }
}

/** A line for each system, with how many times better Millrace is than it. */
function describe(
  { key, title, isMoreBetter }: (typeof ROWS)[number],
  results: ReadonlyMap<System, readonly Measured[]>,
): string {
  const spreads = [...results].map(([{ name }, runs]) => ({
    name,
    ...spreadOf(runs.map((run) => run[key])),
  }));
  const ours = spreads.find(({ name }) => name === millrace.name)!; // it is always measured
  const lines = spreads.map(({ name, median, min, max }) => {
    const text = `  ${name.padEnd(16)} ${median.toFixed(0).padStart(6)} (${min.toFixed(0)}–${max.toFixed(0)})`;
    if (name === millrace.name) return text;
    const ratio = isMoreBetter ? ours.median / median : median / ours.median;
    return `${text}  Millrace: ${ratio.toFixed(1)} times better`;
  });
  return `${title}\n${lines.join('\n')}\n`;
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
