import { format, resolveConfig } from 'prettier';
import type { Machine } from './platform/machine.ts';
import type { Figure, FigureRange } from './figure.ts';
import type { Measured } from './rounds.ts';
import { SANDBOX_FIGURES } from './sandbox-targets.ts';
import { spreadOf, type Spread } from './statistics.ts';
import { FIGURES, type FigureName } from './targets.ts';

export interface ReportFacts {
  readonly machine: Machine;
  readonly versions: { readonly postgres: string; readonly redis: string };
  readonly runs: number;
  readonly seconds: number;
  readonly date: Date;
}

interface Row {
  readonly name: FigureName;
  readonly figure: Figure;
  readonly spread: Spread;
}

const rowsOf = (measured: Measured): readonly Row[] =>
  (Object.keys(FIGURES) as FigureName[]).flatMap((name) => {
    const values = measured.get(name) ?? [];
    return values.length === 0 ? [] : [{ name, figure: FIGURES[name], spread: spreadOf(values) }];
  });

/** The whole of docs/performance.md, formatted as a file at `path` has to be. */
export async function renderDocument(path: string, measured: Measured, facts: ReportFacts): Promise<string> {
  const all = rowsOf(measured);
  const rows = all.filter(({ name }) => !(name in SANDBOX_FIGURES));
  const { machine, versions } = facts;
  const text = `# Performance

Written by \`npm run bench\`; do not edit.

- ${facts.date.toISOString().slice(0, 10)}, commit ${machine.commit}
- ${machine.cores} cores of ${machine.cpu}, ${machine.memoryGiB} GiB of memory, Linux ${machine.kernel}; load generator, platform, PostgreSQL and Redis share it
- Node ${machine.node}, PostgreSQL ${versions.postgres} as the embedded platform starts it (fsync, full_page_writes and synchronous_commit on), Redis ${versions.redis} as it comes
- Medians of ${facts.runs} interleaved runs of ${facts.seconds} s each, lowest and highest beside; each run on an empty database with processes of its own. Differences below 20 % prove nothing.

Bodies are JSON of 430 bytes, signed by HMAC-SHA256 as GitHub does, each delivery with an id of its own. Before a figure is
printed, every 202 is compared with the rows in PostgreSQL, every execution that was for a worker to run has to have
succeeded with all its steps recorded, and PostgreSQL has to be durable.

n8n's figures are of n8n 2.8.4 in queue mode with PostgreSQL 15 and Redis 7, webhook → set with three expressions, measured by us on 2 cores
with 24 GiB where a bare node:http server answered 12,000–17,000 requests/s and PostgreSQL made 2,100 single-row commits/s
with one client, 8,300 with 32. The last rows below say what this machine did at the time of these runs: where it is faster, part of the
ratio is the machine's.

## Against the targets

${targetTable(rows.filter(({ figure }) => figure.target !== undefined))}

${verdicts(measured)}

## Beside them

${plainTable(rows.filter(({ figure }) => figure.target === undefined))}

## Code steps in gVisor

One worker with the limits and spares it has by default. Beside each figure is that of the same code in a plain process (\`SANDBOX_DRIVER=process\`) in the
same runs, and what the runtime did in gVisor, driven by a bare loop, before there was a platform around it.

${sandboxTable(all)}

What a backlog of 1,000,000 executions and a history of 10,000,000 rows change is measured by \`npm run bench -- --only depth\`, what 2 and 4 workers do by
\`--only workers\`; [scaling.md](scaling.md) has it.

## How it is measured

- **accepts**: autocannon with 50 connections against the API, in a process of its own. The worker is stopped, or executes what comes in; executions that end in the same span are counted then, and the rest is worked off and checked afterwards.
- **open loop**: arrivals as independent senders make them (Poisson), at 70 % of the measured maximum; latency counts from when a request was due to be sent, whether or not the one before was answered.
- **executions/s**: webhooks are accepted while no worker runs, then one worker is started. The first two seconds and the last executions do not count. CPU times are from /proc, PostgreSQL's with all its processes.
- **durable overhead**: a chain of 100 \`http\` steps, one execution at a time: its duration by step, less that of the same call by a bare client.
- **light load**: 10 webhooks a second of 3 \`transform\` steps; from \`received_at\` to \`finished_at\` in PostgreSQL, and as a client of \`respond: result\` sees it.
- **resume**: from the claim of an execution with 1,000 recorded outcomes (400 chained steps, 600 elements of a \`forEach\`) to its end one step later, with a worker that has just been started after the first was killed, and with the same worker.
- **code steps**: small steps (a few fields of the request in, an object out) that are deployed as authors do it; claim → result from the journal's times. The backlogs take the first sandboxes along; a *pool miss* has no spare, a *first step* a warmed one that was nobody's. Memory and CPU are those of the sandboxes' cgroups.
- **memory**: resident, looked at five times a second; the most that any measurement of a round saw, then the median of the rounds.
- **start**: from starting the process until \`/health/ready\` answers 200.
`;
  return format(text, { ...(await resolveConfig(path)), parser: 'markdown' });
}

/** The figures as lines, for the terminal. */
export function renderText(measured: Measured): string {
  const rows = rowsOf(measured);
  const width = Math.max(...rows.map(({ figure }) => figure.title.length));
  return rows
    .map(({ figure, spread }) => {
      const { target } = figure;
      const verdict =
        target === undefined
          ? ''
          : `  target ${targetText(figure)}${isReached(figure, spread) ? '' : '  NOT REACHED'}`;
      return `${figure.title.padEnd(width)}  ${value(spread.median, figure)}  (${range(spread, figure)})${verdict}\n`;
    })
    .join('');
}

function targetTable(rows: readonly Row[]): string {
  const lines = rows.map(({ figure, spread }) => {
    const stretch = figure.target?.stretch;
    const cells = [
      figure.title,
      `**${value(spread.median, figure)}**`,
      range(spread, figure),
      targetText(figure),
      stretch === undefined ? '' : value(stretch, figure),
      reachedText(figure, spread),
      figure.n8n === undefined ? '' : n8nText(figure),
      ratioText(figure, spread),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    '| what | measured | lowest–highest | target | stretch | reached | n8n | times better than n8n |',
    '|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

function plainTable(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ figure, spread }) =>
      `| ${figure.title} | ${value(spread.median, figure)} | ${range(spread, figure)} | ${figure.n8n === undefined ? '' : n8nText(figure)} |`,
  );
  return ['| what | measured | lowest–highest | n8n |', '|---|---|---|---|', ...lines].join('\n');
}

function sandboxTable(rows: readonly Row[]): string {
  const spreadsByName = new Map<string, Spread>(rows.map(({ name, spread }) => [name, spread]));
  const lines = rows
    .filter(({ name, figure }) => name in SANDBOX_FIGURES && figure.isComparison !== true)
    .map(({ figure, spread }) => {
      const plain = figure.plain === undefined ? undefined : spreadsByName.get(figure.plain);
      const cells = [
        figure.title,
        `**${value(spread.median, figure)}**`,
        range(spread, figure),
        figure.target === undefined ? '' : targetText(figure),
        figure.target === undefined ? '' : reachedText(figure, spread),
        plain === undefined ? '' : value(plain.median, figure),
        figure.bare === undefined ? '' : spanText(figure.bare, figure),
      ];
      return `| ${cells.join(' | ')} |`;
    });
  return [
    '| what | measured | lowest–highest | target | reached | plain process | bare gVisor |',
    '|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

/** Says plainly what is not reached, and by how much. */
function verdicts(measured: Measured): string {
  const missed = missedTargets(measured);
  if (missed.length === 0) return 'All targets are reached.';
  return `Not reached:\n\n${missed.map((line) => `- ${line}`).join('\n')}`;
}

/** A line for each figure whose median misses its target. */
export const missedTargets = (measured: Measured): readonly string[] =>
  rowsOf(measured)
    .filter(({ figure, spread }) => !isReached(figure, spread))
    .map(({ figure, spread }) => {
      const goal = goalOf(figure)!; // a figure without one is always reached
      const percent = Math.round(Math.abs(spread.median / goal - 1) * 100);
      const way = spread.median < goal ? 'below' : 'above';
      return `${figure.title}: ${value(spread.median, figure)}, ${percent} % ${way} the target of ${value(goal, figure)}`;
    });

function goalOf({ target }: Figure): number | undefined {
  if (target === undefined) return undefined;
  return 'atLeast' in target ? target.atLeast : target.atMost;
}

function reachedText(figure: Figure, spread: Spread): string {
  if (!isReached(figure, spread)) return '**no**';
  const { target } = figure;
  if (target?.stretch === undefined) return 'yes';
  const isStretched = 'atLeast' in target ? spread.median >= target.stretch : spread.median <= target.stretch;
  return isStretched ? 'yes, the stretch too' : 'yes';
}

function isReached(figure: Figure, spread: Spread): boolean {
  const { target } = figure;
  if (target === undefined) return true;
  return 'atLeast' in target ? spread.median >= target.atLeast : spread.median <= target.atMost;
}

const targetText = (figure: Figure): string =>
  `${figure.target !== undefined && 'atLeast' in figure.target ? '≥' : '≤'} ${value(goalOf(figure) ?? 0, figure)}`;

const n8nText = (figure: Figure): string => spanText(figure.n8n!, figure); // asked for by the callers

function spanText({ from, to, note }: FigureRange, figure: Figure): string {
  const span = from === to ? value(from, figure) : `${count(from)}–${value(to, figure)}`;
  return note === undefined ? span : `${span} (${note})`;
}

/** Against n8n's best figure, so as not to flatter. */
function ratioText(figure: Figure, spread: Spread): string {
  if (figure.n8n === undefined) return '';
  const ratio = figure.unit === '/s' ? spread.median / figure.n8n.to : figure.n8n.from / spread.median;
  return ratio.toFixed(1);
}

const value = (n: number, { unit }: Figure): string => `${count(n)}${unit === '/s' ? unit : ` ${unit}`}`;

const range = (spread: Spread, figure: Figure): string => `${count(spread.min)}–${value(spread.max, figure)}`;

/** With three significant digits, or all of a whole number. */
function count(n: number): string {
  const digits = Number.isInteger(n) || n >= 100 ? 0 : n >= 10 ? 1 : n >= 1 ? 2 : 3;
  return n.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
