import { EXIT, type ExitCode } from '../cli-error.ts';
import type { z } from '../../core/zod.ts';
import { formatTable } from '../output.ts';
import type { Session } from '../session.ts';
import { pageOf, workflowShape } from '../shapes.ts';

type WorkflowItem = z.output<typeof workflowShape>;
const pageShape = pageOf(workflowShape);

/** `millrace list`: all of them. */
export async function list(session: Session): Promise<ExitCode> {
  const items: WorkflowItem[] = [];
  let cursor: string | null | undefined;
  do {
    const { body: page } = await session.api.request(pageShape, 'GET', '/workflows', {
      query: { limit: 100, cursor: cursor ?? undefined },
    });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  session.show(items, (all) =>
    formatTable(all, [
      { title: 'name', value: (row) => row.name },
      { title: 'version', value: (row) => row.version },
      { title: 'enabled', value: (row) => (row.enabled ? 'yes' : 'no') },
      {
        title: 'triggers',
        value: (row) => row.triggers.map(({ name, type }) => `${name} (${type})`).join(', '),
      },
      { title: 'updated', value: (row) => row.updatedAt },
    ]),
  );
  return EXIT.ok;
}
