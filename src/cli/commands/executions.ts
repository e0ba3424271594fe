import { EXIT, type ExitCode } from '../cli-error.ts';
import { formatSpan, formatTable } from '../output.ts';
import type { Session } from '../session.ts';
import { executionCountsShape, executionSummaryShape, pageOf, type ExecutionSummary } from '../shapes.ts';

const PAGE_LIMIT = 100;
const pageShape = pageOf(executionSummaryShape);

/** `millrace executions`. */
export async function listExecutions(
  session: Session,
  options: { readonly workflow?: string; readonly state?: string; readonly limit: number },
): Promise<ExitCode> {
  const items: ExecutionSummary[] = [];
  let cursor: string | null | undefined;
  do {
    const { body: page } = await session.api.request(pageShape, 'GET', '/executions', {
      query: {
        workflow: options.workflow,
        state: options.state,
        limit: Math.min(options.limit - items.length, PAGE_LIMIT),
        cursor: cursor ?? undefined,
      },
    });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null && items.length < options.limit);
  session.show(items, (all) =>
    formatTable(all, [
      { title: 'id', value: (row) => row.id },
      { title: 'workflow', value: (row) => `${row.workflow}@${row.version}` },
      { title: 'trigger', value: (row) => row.trigger.name },
      { title: 'state', value: (row) => row.state },
      { title: 'created', value: (row) => row.createdAt },
      { title: 'took', value: (row) => formatSpan(row.startedAt, row.finishedAt) },
      { title: 'error', value: (row) => row.error?.code },
    ]),
  );
  return EXIT.ok;
}

/** `millrace executions --count-by state`: how many there are in each state, of all that are kept. */
export async function countExecutions(
  session: Session,
  options: { readonly workflow?: string },
): Promise<ExitCode> {
  const { body } = await session.api.request(executionCountsShape, 'GET', '/executions/stats', {
    query: { workflow: options.workflow },
  });
  session.show(body.counts, (counts) =>
    formatTable(Object.entries(counts), [
      { title: 'state', value: ([state]) => state },
      { title: 'executions', value: ([, count]) => count },
    ]),
  );
  return EXIT.ok;
}
