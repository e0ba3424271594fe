// `npm run bench:compare [-- --runs 3 --seconds 5 --with n8n,dbos,restate]`: the same load on Millrace and on others, in
// turns, side by side.
import { parseArgs } from 'node:util';
import build from '../../test/support/build-setup.ts';
import { describeMachine } from '../platform/machine.ts';
import { startServicesUntilSignal } from '../platform/services.ts';
import { installDbos } from './dbos.ts';
import { millrace } from './millrace.ts';
import { installN8n } from './n8n.ts';
import { renderComparison } from './report.ts';
import { installRestate } from './restate.ts';
import { MIN_WEBHOOKS, type Measured, type System } from './system.ts';

/** What Millrace may be compared with, and how each is got. */
const OTHERS = { n8n: installN8n, dbos: installDbos, restate: installRestate } as const;
type Other = keyof typeof OTHERS;
const NAMES = Object.keys(OTHERS) as readonly Other[];

const USAGE = `Usage: npm run bench:compare [-- --runs <1-20> --seconds <1-60> --with <${NAMES.join(',')}>]`;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

interface Settings {
  readonly runs: number;
  /** For about so long each run sends webhooks. */
  readonly seconds: number;
  readonly others: readonly Other[];
}

function parseSettings(): Settings {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      with: { type: 'string', default: NAMES.join(',') },
    },
  });
  const [runs, seconds] = [Number(values.runs), Number(values.seconds)];
  const asked = values.with.split(',').map((name) => name.trim());
  const others = NAMES.filter((name) => asked.includes(name));
  const isWithin = (n: number, min: number, max: number): boolean =>
    Number.isInteger(n) && n >= min && n <= max;
  if (!isWithin(runs, 1, 20) || !isWithin(seconds, 1, 60) || others.length !== asked.length) {
    throw new Error(USAGE);
  }
  return { runs, seconds, others };
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
  const { runs, seconds, others } = parseSettings();
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
        results.get(system)!.push(await system.measure(services, seconds)); // made above
      }
    }
    const machine = await describeMachine();
    process.stdout.write(
      `${runs} runs in turns, each of ${seconds} s and ${MIN_WEBHOOKS} webhooks at least, medians (lowest–highest); ${machine.cores} cores of ${machine.cpu}, commit ${machine.commit}\n`,
    );
    const compared = [...results].map(([{ name }, measured]) => ({ name, runs: measured }));
    process.stdout.write(renderComparison(compared, isN8nMissing));
  } finally {
    await services.stop();
  }
}

await main().catch((raw: unknown) => {
  say(`The comparison failed: ${raw instanceof Error ? raw.message : String(raw)}`);
  process.exitCode = 1;
});
