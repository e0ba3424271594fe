import { setTimeout as delay } from 'node:timers/promises';
import { isUuid } from '../../core/db/ids.ts';
import { z } from '../../core/zod.ts';
import { EXIT, type ExitCode } from '../cli-error.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import {
  executionSummaryShape,
  hasEnded,
  logLineShape,
  pageOf,
  type ExecutionSummary,
  type LogLine,
} from '../shapes.ts';
import { workflowPath } from '../workflows.ts';

export interface LogOptions {
  readonly tail: number;
  readonly follow: boolean;
}

/** How many of a workflow's newest executions are looked into. */
const EXECUTIONS = 50;
const LOOK_EVERY_MS = 1000;
const pageShape = pageOf(executionSummaryShape);

/** `millrace logs`: of one execution, or of the newest ones of a workflow, where each line says whose it is. */
export async function showLogs(session: Session, target: string, options: LogOptions): Promise<ExitCode> {
  if (isUuid(target)) {
    for await (const line of readLog(session, target, options)) print(session, line);
    return EXIT.ok;
  }
  const executions = await newest(session, target);
  if (executions.length === 0) await session.api.request(z.unknown(), 'GET', workflowPath(target)); // not_found
  for (const { id, lines } of await lastLines(session, executions, options)) {
    for (const line of lines) print(session, line, id);
  }
  if (options.follow) await followWorkflow(session, target, executions);
  return EXIT.ok;
}

async function* readLog(session: Session, id: string, options: LogOptions): AsyncGenerator<LogLine> {
  const query = { tail: options.tail, follow: options.follow ? 'true' : undefined };
  for await (const text of session.api.lines(`/executions/${encodeURIComponent(id)}/logs`, { query })) {
    const parsed = logLineShape.safeParse(JSON.parse(text));
    if (parsed.success) yield parsed.data;
  }
}

async function newest(session: Session, workflow: string): Promise<readonly ExecutionSummary[]> {
  const { body } = await session.api.request(pageShape, 'GET', '/executions', {
    query: { workflow, limit: EXECUTIONS },
  });
  return body.items;
}

/** The last lines of the executions together, oldest execution first. What still runs is left to who follows. */
async function lastLines(
  session: Session,
  executions: readonly ExecutionSummary[],
  { tail, follow }: LogOptions,
): Promise<readonly { readonly id: string; readonly lines: readonly LogLine[] }[]> {
  const found: { readonly id: string; readonly lines: readonly LogLine[] }[] = [];
  let missing = tail;
  for (const execution of executions) {
    if (missing === 0) break;
    if (follow && !hasEnded(execution)) continue;
    const lines: LogLine[] = [];
    for await (const line of readLog(session, execution.id, { tail: missing, follow: false }))
      lines.push(line);
    missing -= lines.length;
    found.unshift({ id: execution.id, lines });
  }
  return found;
}

/** Goes on until the process is ended: what runs now, and what starts from now on. */
async function followWorkflow(
  session: Session,
  workflow: string,
  before: readonly ExecutionSummary[],
): Promise<void> {
  const known = new Set(before.filter(hasEnded).map(({ id }) => id));
  const failures: unknown[] = [];
  for (let current = before; failures.length === 0; current = await newest(session, workflow)) {
    for (const { id } of current.toReversed()) {
      if (known.has(id)) continue;
      known.add(id);
      followOne(session, id).catch((raw: unknown) => failures.push(raw));
    }
    await delay(LOOK_EVERY_MS);
  }
  throw failures[0];
}

async function followOne(session: Session, id: string): Promise<void> {
  for await (const line of readLog(session, id, { tail: 1000, follow: true })) print(session, line, id);
}

function print(session: Session, line: LogLine, execution?: string): void {
  session.showLine({ ...line, ...(execution !== undefined && { execution }) }, () => {
    const step = line.item === null ? line.step : `${line.step}[${line.item}]`;
    const attempt = line.attempt > 1 ? ` (attempt ${line.attempt})` : '';
    const parts = [
      line.time,
      execution,
      line.level.toUpperCase().padEnd(5),
      `${step}${attempt}:`,
      line.message,
    ];
    return printable(parts.filter((part) => part !== undefined).join(' '));
  });
}
