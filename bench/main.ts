// `npm run bench [-- --only accept,execute --runs 5 --seconds 10 --gate --profile <folder> --env NAME=value]`
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import build from '../test/support/build-setup.ts';
import { PROJECT_ROOT } from '../test/support/processes.ts';
import { ON_REQUEST } from './measure/all.ts';
import { describeMachine } from './platform/machine.ts';
import { startServicesUntilSignal, type Services } from './platform/services.ts';
import { summarizeProfiles } from './profile.ts';
import { missedTargets, renderDocument, renderText } from './report.ts';
import { createRounds, type Measured } from './rounds.ts';
import { isDocumented, parseSettings, USAGE, UsageError, type Settings } from './settings.ts';

const DOCUMENT = join(PROJECT_ROOT, 'docs', 'performance.md');
const TOP_FUNCTIONS = 25;

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
    } else if (isDocumented(settings)) {
      const { runs, seconds } = settings;
      const facts = { machine, versions: services.versions, runs, seconds, date: new Date() };
      await writeFile(DOCUMENT, await renderDocument(DOCUMENT, measured, facts));
      say('docs/performance.md is written');
    }
    return settings.isGate ? passGate(measured) : 0;
  } catch (error) {
    if (isInterrupted()) return 1; // the exit status is that of the signal
    throw error;
  } finally {
    await services.stop();
  }
}

/** @returns the exit status */
function passGate(measured: Measured): number {
  const missed = missedTargets(measured);
  say(missed.length === 0 ? 'All targets are reached.' : `Targets were missed:\n${missed.join('\n')}`);
  return missed.length === 0 ? 0 : 1;
}

/** Rounds of all measurements, so that what the machine does meanwhile falls on all alike. */
async function measure(settings: Settings, services: Services): Promise<Measured> {
  const rounds = createRounds();
  for (let run = 1; run <= settings.runs; run++) {
    rounds.begin();
    for (const one of settings.measures) {
      if (run > 1 && ON_REQUEST.includes(one)) continue;
      const label = `run ${run}/${settings.runs}, ${one.title}`;
      say(label);
      const figures = await one
        .run({
          services,
          seconds: settings.seconds,
          soFar: rounds.median,
          installation: { env: settings.env, profileDirectory: settings.profile },
          say: (message) => say(`${label}: ${message}`),
        })
        .catch((raw: unknown) => {
          throw new Error(`${one.name}: ${raw instanceof Error ? raw.message : String(raw)}`, { cause: raw });
        });
      rounds.add(figures);
    }
  }
  return rounds.measured;
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
