import { format, resolveConfig } from 'prettier';
import type { Counts } from './harness/checker.ts';
import type { FaultRow, RowResult } from './harness/row.ts';

/** What the figures depend on beside the code, in general words. */
export interface RunFacts {
  readonly date: Date;
  readonly commit: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly tookMs: number;
}

export interface RanRow {
  readonly row: FaultRow;
  readonly result: RowResult;
}

/** A row that may not have been run yet. */
type TableRow = Pick<RanRow, 'row'> & Partial<RanRow>;

const BEGIN = '<!-- begin: written by `npm run faults` -->';
const END = '<!-- end -->';

/**
 * The document with the table of this run between its marks.
 *
 * @throws Error when the marks are not there
 */
export async function renderDocument(
  path: string,
  document: string,
  ran: readonly RanRow[],
  facts: RunFacts,
): Promise<string> {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END, begin);
  if (begin === -1 || end === -1) throw new Error(`${path} has to have the lines "${BEGIN}" and "${END}"`);
  const text = `${document.slice(0, begin)}${BEGIN}\n\n${renderFacts(facts, ran)}\n\n${renderTable(ran)}\n\n${document.slice(end)}`;
  return format(text, { ...(await resolveConfig(path)), parser: 'markdown' });
}

function renderFacts(facts: RunFacts, ran: readonly RanRow[]): string {
  const sum = (name: keyof Counts): number =>
    ran.reduce((total, { result }) => total + result.counts[name], 0);
  const count = (name: keyof Counts): string => sum(name).toLocaleString('en');
  return `Last run: ${facts.date.toISOString().slice(0, 10)}, commit ${facts.commit}, ${facts.cores} cores, ${facts.memoryGiB} GiB of memory, Node ${facts.node}; load
generator, platform, databases and all share them. ${ran.length} rows in ${Math.round(facts.tookMs / 60_000)} minutes: ${count('ok')} requests accepted, ${count('info')} answered 5xx or cut off; ${count('lost')} lost,
${count('phantom')} phantom, ${count('duplicates')} duplicates, ${count('stuck')} stuck, ${count('reRun')} re-run, ${count('strayCalls')} stray calls. ${count('repeatedInFlight')} steps that were cut off ran again under their key.`;
}

/** Ordered by id, whatever the order of the run was. */
export function renderTable(rows: readonly TableRow[]): string {
  const lines = rows
    .toSorted((a, b) => a.row.id.localeCompare(b.row.id))
    .map(({ row, result }) =>
      [row.id, row.fault, row.during, row.after, row.closedBy, lastRun(result)].map(toCell).join(' | '),
    );
  return [
    '| id | fault | during | after | closed by | last run |',
    '|---|---|---|---|---|---|',
    ...lines.map((line) => `| ${line} |`),
  ].join('\n');
}

const lastRun = (result: RowResult | undefined): string =>
  result === undefined ? '–' : describeResult(result);

const describeResult = ({ counts, evidence }: RowResult): string =>
  `${evidence.join('; ')}. ok ${counts.ok}, fail ${counts.fail}, info ${counts.info}; repeated in flight ${counts.repeatedInFlight}, leases lost ${counts.lostLeases}`;

const toCell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ');
