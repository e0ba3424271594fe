// `npm run bench [-- --only accept,execute --runs 3 --seconds 10 --profile <folder> --env NAME=value]`
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import build from '../test/support/build-setup.ts';
import { PROJECT_ROOT } from '../test/support/processes.ts';
import { MEASURES, ON_REQUEST } from './measure/all.ts';
import type { Measure } from './measure/measure.ts';
import { describeMachine } from './platform/machine.ts';
import { startServicesUntilSignal, type Services } from './platform/services.ts';
import { summarizeProfiles } from './profile.ts';
import { renderDocument, renderText } from './report.ts';
import { median } from './statistics.ts';
import type { FigureName } from './targets.ts';

const DOCUMENT = join(PROJECT_ROOT, 'docs', 'performance.md');
const TOP_FUNCTIONS = 25;
const USAGE = `Usage: npm run bench [-- --only <names> --runs <1-20> --seconds <2-120> --profile <folder> --env <NAME=value>...]
Names, comma separated: ${MEASURES.map((measure) => measure.name).join(', ')}; sandbox, telemetry: all that begin so.
By name alone: ${ON_REQUEST.map((measure) => measure.name).join(', ')}, which runs once.
Only a run of all of them, as they are, writes docs/performance.md. --env sets a variable of API and worker. --profile leaves
CPU profiles of both in the folder and prints what they and the statements of PostgreSQL take; it slows everything down.`;

interface Settings {
  readonly measures: readonly Measure[];
  readonly runs: number;
  readonly seconds: number;
  readonly profile: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

class UsageError extends Error {}

const ALL: readonly Measure[] = [...MEASURES, ...ON_REQUEST];

function parseSettings(args: readonly string[]): Settings {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        runs: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '10' },
        profile: { type: 'string' },
        env: { type: 'string', multiple: true, default: [] },
        help: { type: 'boolean' },
      },
    }));
  } catch (raw) {
    throw new UsageError(raw instanceof Error ? raw.message : String(raw));
  }
  if (values.help) throw new UsageError('');
  const names = values.only?.split(',').map((name) => name.trim());
  const unknown = names?.filter((name) => !ALL.some((measure) => isMeant(name, measure))) ?? [];
  if (unknown.length > 0) throw new UsageError(`There is no measurement called ${unknown.join(', ')}.`);
  return {
    measures:
      names === undefined ? MEASURES : ALL.filter((measure) => names.some((name) => isMeant(name, measure))),
    runs: wholeNumber('--runs', values.runs, 1, 20),
    seconds: wholeNumber('--seconds', values.seconds, 2, 120),
    profile: values.profile === undefined ? undefined : resolve(values.profile),
    env: Object.fromEntries(values.env.map(parseVariable)),
  };
}

/** `sandbox` means all whose names begin so. */
const isMeant = (name: string, measure: Measure): boolean =>
  measure.name === name || measure.name.startsWith(`${name}-`);

function parseVariable(text: string): readonly [string, string] {
  const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new UsageError(`--env must be NAME=value, got ${JSON.stringify(text)}.`);
  return [name, value];
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (Number.isInteger(n) && n >= min && n <= max) return n;
  throw new UsageError(`${name} must be a whole number from ${min} to ${max}, got ${text}.`);
}

async function main(): Promise<number> {
  const settings = parseSettings(process.argv.slice(2));
  if (process.platform !== 'linux') throw new Error('The benchmark reads /proc, so it needs Linux.');
  if (settings.profile !== undefined) await mkdir(settings.profile, { recursive: true });
  await build(); // what images run, of the sources of this moment
  const machine = await describeMachine();
  const { services, isInterrupted } = await startServicesUntilSignal({
    traceStatements: settings.profile !== undefined,
  });
  try {
    const measured = await measure(settings, services);
    process.stdout.write(renderText(measured));
    if (settings.profile !== undefined) {
      process.stdout.write(`\n${await summarizeProfiles(settings.profile, TOP_FUNCTIONS)}\n`);
    } else if (isComplete(settings)) {
      const { runs, seconds } = settings;
      const facts = { machine, versions: services.versions, runs, seconds, date: new Date() };
      await writeFile(DOCUMENT, await renderDocument(DOCUMENT, measured, facts));
      say('docs/performance.md is written');
    }
    return 0;
  } catch (error) {
    if (isInterrupted()) return 1; // the exit status is that of the signal
    throw error;
  } finally {
    await services.stop();
  }
}

const isComplete = ({ measures, env }: Settings): boolean =>
  measures.length === MEASURES.length && Object.keys(env).length === 0;

/** Rounds of all measurements, so that what the machine does meanwhile falls on all alike. */
async function measure(
  settings: Settings,
  services: Services,
): Promise<ReadonlyMap<FigureName, readonly number[]>> {
  const measured = new Map<FigureName, number[]>();
  for (let run = 1; run <= settings.runs; run++) {
    for (const one of settings.measures) {
      if (run > 1 && ON_REQUEST.includes(one)) continue;
      const label = `run ${run}/${settings.runs}, ${one.title}`;
      say(label);
      const figures = await one
        .run({
          services,
          seconds: settings.seconds,
          soFar: (name) => {
            const values = measured.get(name);
            return values === undefined ? undefined : median(values);
          },
          installation: { env: settings.env, profileDirectory: settings.profile },
          say: (message) => say(`${label}: ${message}`),
        })
        .catch((raw: unknown) => {
          throw new Error(`${one.name}: ${raw instanceof Error ? raw.message : String(raw)}`, { cause: raw });
        });
      for (const [name, value] of Object.entries(figures) as [FigureName, number][]) {
        measured.set(name, [...(measured.get(name) ?? []), value]);
      }
    }
  }
  return measured;
}

function say(message: string): void {
  process.stderr.write(`${message}\n`);
}

try {
  process.exitCode = await main();
} catch (raw) {
  if (raw instanceof UsageError) {
    process.stderr.write(`${raw.message}\n${USAGE}\n`);
    process.exitCode = 2;
  } else {
    process.stderr.write(`The benchmark failed: ${raw instanceof Error ? raw.message : String(raw)}\n`);
    process.exitCode = 1;
  }
}
