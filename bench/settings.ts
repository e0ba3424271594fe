import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { MEASURES, ON_REQUEST } from './measure/all.ts';
import type { Measure } from './measure/measure.ts';

/** What docs/performance.md is written of: so many runs at least, with measured phases of so many seconds. */
const DOCUMENTED = { runs: 5, seconds: 10 } as const;

export const USAGE = `Usage: npm run bench [-- --only <names> --runs <1-20> --seconds <2-120> --gate --profile <folder> --env <NAME=value>...]
Names, comma separated: ${MEASURES.map((measure) => measure.name).join(', ')}; sandbox, telemetry: all that begin so.
By name alone: ${ON_REQUEST.map((measure) => measure.name).join(', ')}, which runs once.
Only all of them, as they are, in ${DOCUMENTED.runs} runs or more of ${DOCUMENTED.seconds} s, write docs/performance.md. --gate ends with status 1 when a median misses
its target. --env sets a variable of API and worker. --profile leaves CPU profiles of both in the folder and prints what they and
the statements of PostgreSQL take; it slows everything down.`;

export interface Settings {
  readonly measures: readonly Measure[];
  readonly runs: number;
  readonly seconds: number;
  readonly isGate: boolean;
  readonly profile: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

export class UsageError extends Error {}

const ALL: readonly Measure[] = [...MEASURES, ...ON_REQUEST];

/** @throws UsageError */
export function parseSettings(args: readonly string[]): Settings {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        runs: { type: 'string', default: String(DOCUMENTED.runs) },
        seconds: { type: 'string', default: String(DOCUMENTED.seconds) },
        gate: { type: 'boolean', default: false },
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
    isGate: values.gate,
    profile: values.profile === undefined ? undefined : resolve(values.profile),
    env: Object.fromEntries(values.env.map(parseVariable)),
  };
}

/** Whether what comes of it may replace docs/performance.md. */
export const isDocumented = ({ measures, runs, seconds, profile, env }: Settings): boolean =>
  MEASURES.every((measure) => measures.includes(measure)) &&
  measures.length === MEASURES.length &&
  runs >= DOCUMENTED.runs &&
  seconds === DOCUMENTED.seconds &&
  profile === undefined &&
  Object.keys(env).length === 0;

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
