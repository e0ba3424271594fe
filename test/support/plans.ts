import type pg from 'pg';

/** A node of a plan as `explain (analyze, format json)` prints it. */
interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows'?: number;
  readonly 'Actual Loops'?: number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly 'Heap Fetches'?: number;
  /** From PostgreSQL 18 on; in all loops. */
  readonly 'Index Searches'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** What a statement did, by what PostgreSQL counted. */
export interface Work {
  /** Rows that were read from tables, those thrown away by a filter included; entries of an index alone are not. */
  readonly tableRows: number;
  /** Entries that were read from indexes alone. */
  readonly indexOnlyRows: number;
  /** Partitions that were read whole; other tables are small. */
  readonly readWhole: readonly string[];
  /** Descents into indexes; one for each look-up, and one for each value that a scan skips to. */
  readonly indexSearches: number;
  /** The most rows that went through one sort. */
  readonly sortedRows: number;
  /** The plans, to look at when a test fails. */
  readonly plans: readonly PlanNode[];
}

/** Makes new sessions of the database tell the plan of each statement they ran. Takes a superuser. */
export async function tracePlans(admin: Pick<pg.ClientBase, 'query'>): Promise<void> {
  const { rows } = await admin.query<{ name: string }>(`select quote_ident(current_database()) as name`);
  const name = rows[0]!.name; // a select without from returns one row
  await admin.query(`alter database ${name} set session_preload_libraries = 'auto_explain'`);
  for (const setting of [
    `auto_explain.log_min_duration = 0`,
    `auto_explain.log_analyze = on`,
    `auto_explain.log_timing = off`,
    `auto_explain.log_format = json`,
    `auto_explain.log_level = notice`,
  ]) {
    await admin.query(`alter database ${name} set ${setting}`);
  }
}

/** What a call gave, and what it took. */
export interface Watched<T> {
  readonly work: Work;
  readonly result: T;
}

/** Runs `run` and counts what its statements did, with the very plans that were used. */
export async function withWork<T>(client: pg.ClientBase, run: () => Promise<T>): Promise<Watched<T>> {
  const plans: PlanNode[] = [];
  const onNotice = ({ message }: { readonly message?: string | undefined }): void => {
    const json = message?.startsWith('duration:') ? message.slice(message.indexOf('{')) : undefined;
    if (json !== undefined) plans.push((JSON.parse(json) as { readonly Plan: PlanNode }).Plan);
  };
  client.on('notice', onNotice);
  const result = await run().finally(() => client.off('notice', onNotice));
  return { work: toWork(plans), result };
}

function toWork(plans: readonly PlanNode[]): Work {
  if (plans.length === 0)
    throw new Error('no plan was told; is tracePlans() missing, or was the session older?');
  const nodes = plans.flatMap(flatten);
  const sum = (count: (node: PlanNode) => number): number =>
    nodes.reduce((total, node) => total + count(node), 0);
  return {
    tableRows: sum((node) => (/^(Index|Seq|Bitmap Heap) Scan$/.test(node['Node Type']) ? rowsRead(node) : 0)),
    indexOnlyRows: sum((node) => (node['Node Type'] === 'Index Only Scan' ? rowsRead(node) : 0)),
    indexSearches: sum((node) => node['Index Searches'] ?? 0),
    readWhole: nodes
      .filter((node) => node['Node Type'] === 'Seq Scan' && rowsRead(node) > 0)
      .map((node) => node['Relation Name'] ?? '')
      .filter((name) => /^(delivery|execution|step_run|step_log)_/.test(name)),
    sortedRows: Math.max(
      0,
      ...nodes
        .filter((node) => node['Node Type'].endsWith('Sort'))
        .map((node) => (node.Plans ?? []).reduce((total, input) => total + rowsRead(input), 0)),
    ),
    plans,
  };
}

const flatten = (node: PlanNode): readonly PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** Counts in plans are means over the loops. */
const rowsRead = (node: PlanNode): number =>
  ((node['Actual Rows'] ?? 0) +
    (node['Rows Removed by Filter'] ?? 0) +
    (node['Rows Removed by Index Recheck'] ?? 0)) *
  (node['Actual Loops'] ?? 1);
