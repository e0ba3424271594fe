import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { z } from 'zod';

/** What V8 writes with `--cpu-prof` (the inspector protocol's Profiler.Profile). */
const profileSchema = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
      children: z.array(z.number()).default([]),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});
type Profile = z.infer<typeof profileSchema>;
type Frame = Profile['nodes'][number]['callFrame'];

const NOT_WORK = new Set(['(idle)', '(root)']);
const STATEMENTS = '.statements.txt';
const MAX_STATEMENT_LENGTH = 110;

/** What the profiles and statements in `directory` spent the most on, as text. */
export async function summarizeProfiles(directory: string, top: number): Promise<string> {
  const files = (await readdir(directory)).sort();
  const summaries = await Promise.all(
    files.map(async (file) => {
      if (!file.endsWith('.cpuprofile') && !file.endsWith(STATEMENTS)) return [];
      const text = await readFile(join(directory, file), 'utf8');
      return [
        `${file}\n${file.endsWith(STATEMENTS) ? text : summarize(profileSchema.parse(JSON.parse(text)), top)}`,
      ];
    }),
  );
  return summaries.flat().join('\n\n');
}

function summarize(profile: Profile, top: number): string {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap((node) => node.children.map((child) => [child, node.id])));
  // What Node and V8 do is done for somebody: the nearest caller in our code or a library.
  const payerOf = (id: number): string => {
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = nodes.get(at)?.callFrame;
      if (frame !== undefined && frame.url.startsWith('file:')) return partOf(frame);
    }
    const { functionName, url } = nodes.get(id)!.callFrame; // it has samples
    return functionName.startsWith('(') ? functionName : url || '(native)';
  };
  const bySelf = new Map<string, number>();
  const byPart = new Map<string, number>();
  let total = 0;
  profile.samples.forEach((id, index) => {
    const frame = nodes.get(id)?.callFrame;
    if (frame === undefined || NOT_WORK.has(frame.functionName)) return;
    const ms = (profile.timeDeltas[index] ?? 0) / 1000;
    total += ms;
    const part = payerOf(id);
    const name = frame.url.startsWith('file:') ? nameOf(frame) : `${nameOf(frame)} for ${part}`;
    bySelf.set(name, (bySelf.get(name) ?? 0) + ms);
    byPart.set(part, (byPart.get(part) ?? 0) + ms);
  });
  return [
    `  busy ${total.toFixed(0)} ms, with what they call in Node and V8:`,
    ...longest(byPart, total, top),
    '  by themselves:',
    ...longest(bySelf, total, top),
  ].join('\n');
}

const longest = (of: ReadonlyMap<string, number>, total: number, top: number): readonly string[] =>
  [...of]
    .sort(([, a], [, b]) => b - a)
    .slice(0, top)
    .map(
      ([name, ms]) =>
        `  ${((ms / total) * 100).toFixed(1).padStart(5)} %  ${ms.toFixed(0).padStart(6)} ms  ${name}`,
    );

const nameOf = ({ functionName, url, lineNumber }: Frame): string =>
  `${functionName || '(anonymous)'}${url === '' ? '' : ` ${shortUrl(url)}:${lineNumber + 1}`}`;

const partOf = ({ url }: Frame): string =>
  /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? shortUrl(url);

const shortUrl = (url: string): string =>
  url.replace(/^file:\/\/.*\/(?=node_modules\/|src\/)/, '').replace(/^.*node_modules\//, '');

/** Leaves in `directory` what the statements of the database took, the longest in all first. */
export async function writeStatements(db: pg.Client, directory: string, top: number): Promise<void> {
  const { rows } = await db.query<{ line: string }>(
    `select format('  %s ms  %s calls  %s ms each  %s rows  %s', round(total_exec_time), calls,
        round(mean_exec_time::numeric, 3), rows, left(regexp_replace(query, '\\s+', ' ', 'g'), ${MAX_STATEMENT_LENGTH})) as line
     from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
     order by total_exec_time desc limit $1`,
    [top],
  );
  await writeFile(join(directory, `${db.database}${STATEMENTS}`), rows.map((row) => row.line).join('\n'));
}
