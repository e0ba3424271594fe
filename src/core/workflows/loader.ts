import { createLoadingCache } from '../cache.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import { compileWorkflow, type CompileOptions } from '../definition/compile.ts';
import type { WorkflowDocument } from '../definition/document.ts';
import { WORKFLOW_FORMAT } from '../definition/format.ts';
import type { CompiledWorkflow } from '../definition/types.ts';

const MAX_ENTRIES = 500;

/**
 * Loads compiled workflow versions and remembers them; a version never changes.
 *
 * The function gives undefined for a version whose format this release does not know: a newer release's.
 *
 * @param limits the defaults for time-outs that the document does not set
 */
export function createWorkflowLoader(
  db: Queryable,
  limits: CompileOptions,
): (workflowId: string, version: number) => Promise<CompiledWorkflow | undefined> {
  const cache = createLoadingCache<string, CompiledWorkflow | undefined>({
    load: async (key) => {
      const [workflowId, version] = key.split(':');
      const row = maybeOne(
        await db.query<{ format: number; document: string }>({
          name: 'load-workflow-version',
          text: `select format, document from workflow_version where workflow_id = $1 and version = $2`,
          values: [workflowId, version],
        }),
      );
      if (row === undefined) throw new Error(`workflow ${workflowId} has no version ${version}`);
      if (row.format !== WORKFLOW_FORMAT) return undefined;
      // It was validated when it was saved, in this very format.
      return compileWorkflow(JSON.parse(row.document) as WorkflowDocument, limits);
    },
    maxEntries: MAX_ENTRIES,
  });
  return (workflowId, version) => cache.get(`${workflowId}:${version}`);
}
