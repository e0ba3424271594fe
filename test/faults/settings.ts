import { parseArgs } from 'node:util';

/** What a run of `npm run faults` is to do. */
export interface Settings {
  /** Ids of rows; undefined: all of them. */
  readonly only: readonly string[] | undefined;
  /** Rows by chance for so long; undefined: each once. */
  readonly minutes: number | undefined;
  readonly seed: number;
  /** The platform with its protections taken out one by one: each has to fail its row. */
  readonly mutants: boolean;
}

export const USAGE = `Usage: npm run faults [-- --only <ids> --minutes <1-1440> --seed <number> | --mutants]
Without --minutes each row runs once, in order; a run of all of them writes the table of docs/guarantees.md.
With --minutes rows are picked by chance until the time is over or one fails; --seed repeats the picks of an earlier run.
With FAULTS_LENGTH=long, rows whose specification takes many minutes take them.
With --mutants protections are taken out of the built platform one by one, and the row of each has to fail.`;

/** The command line is wrong; the message says how, and nothing when only help was asked for. */
export class UsageError extends Error {}

const MOST_MINUTES = 24 * 60;
const MOST_SEED = 2 ** 32 - 1;

/** @throws UsageError */
export function parseSettings(args: readonly string[], ids: readonly string[], randomSeed: number): Settings {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        minutes: { type: 'string' },
        seed: { type: 'string' },
        mutants: { type: 'boolean', default: false },
        help: { type: 'boolean' },
      },
    }));
  } catch (raw) {
    throw new UsageError(raw instanceof Error ? raw.message : String(raw));
  }
  if (values.help) throw new UsageError('');
  if (values.seed !== undefined && values.minutes === undefined)
    throw new UsageError('--seed is for picks by chance; give --minutes too.');
  if (values.mutants && (values.only !== undefined || values.minutes !== undefined))
    throw new UsageError('--mutants runs the rows of its own list; leave out --only and --minutes.');
  return {
    only: values.only === undefined ? undefined : parseIds(values.only, ids),
    minutes:
      values.minutes === undefined ? undefined : wholeNumber('--minutes', values.minutes, 1, MOST_MINUTES),
    seed: values.seed === undefined ? randomSeed : wholeNumber('--seed', values.seed, 0, MOST_SEED),
    mutants: values.mutants,
  };
}

function parseIds(text: string, known: readonly string[]): readonly string[] {
  const wanted = text.split(',').map((id) => id.trim());
  const unknown = wanted.filter((id) => !known.includes(id));
  if (unknown.length === 0) return wanted;
  throw new UsageError(
    `--only must name rows, comma separated; there is no ${unknown.map((id) => JSON.stringify(id)).join(', ')}. ` +
      `Rows are ${known.join(', ')}.`,
  );
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (/^\d+$/.test(text) && n >= min && n <= max) return n;
  throw new UsageError(`${name} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}.`);
}
