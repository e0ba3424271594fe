import { withTenant } from '../../core/db/database.ts';
import { makeId } from '../../core/db/ids.ts';
import { checkInput } from '../../core/definition/input-schema.ts';
import { isKebabName } from '../../core/definition/names.ts';
import { appError } from '../../core/errors/app-error.ts';
import { startManually, type Started } from '../../core/executions/start.ts';
import { isTerminal } from '../../core/executions/status.ts';
import { isRecord, type JsonObject, type JsonValue } from '../../core/json.ts';
import { validTraceparent } from '../../core/telemetry/traceparent.ts';
import { getWorkflow } from '../../core/workflows/store.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import { idempotencyKeyOf } from '../http/idempotency-key.ts';
import { operation } from '../http/operation.ts';
import { shown, waitParam } from '../http/params.ts';
import { executionShape } from './execution-shapes.ts';
import { readExecution } from './executions.ts';
import { idShape } from './shapes.ts';

const startedShape = z.object({ executionId: idShape });

export const startExecution = operation({
  id: 'startExecution',
  method: 'post',
  path: '/workflows/{name}/executions',
  tag: 'executions',
  summary: 'Start an execution by hand',
  role: 'editor',
  params: { name: 'Name of the workflow' },
  query: { wait: waitParam },
  headers: {
    'Idempotency-Key':
      'Repeating a request with the same key and input gives the first one’s execution; remembered for 7 days',
  },
  body: {
    schema: z.strictObject({
      input: z.unknown().optional().describe('Any JSON; `trigger.body` and the input of the execution'),
    }),
    empty: {},
  },
  replies: {
    200: { description: 'It has ended within `wait`', schema: executionShape },
    202: { description: 'It is queued, or has not ended yet', schema: startedShape },
  },
  errors: ['workflow_not_found', 'workflow_disabled', 'input_invalid', 'idempotency_conflict'],
  handle: async (deps, request) => {
    const { principal, params, query, body, headers, trace } = request;
    const { executionId, isNew } = await start(deps, principal.tenantId, params.name, {
      input: (body.input ?? null) as JsonValue, // parsed from JSON
      idempotencyKey: idempotencyKeyOf(headers),
      traceparent: trace?.traceparent ?? validTraceparent(headers.traceparent),
    });
    if (isNew) deps.hints.publish([{ executionId, dispatchNumber: 0, span: trace?.span }]);
    if (query.wait !== undefined) {
      const untilMs = deps.clock.now() + query.wait;
      await deps.watchExecution(principal.tenantId, executionId, untilMs, request.signal, 'ended');
      const execution = await readExecution(deps, principal.tenantId, executionId);
      if (isTerminal(execution.state)) return { status: 200, json: execution };
    }
    const json: z.infer<typeof startedShape> = { executionId };
    return { status: 202, json };
  },
});

interface StartRequest {
  readonly input: JsonValue;
  readonly idempotencyKey: string | undefined;
  readonly traceparent: string | undefined;
}

async function start(
  { db, clock }: ApiDeps,
  tenantId: string,
  name: string,
  { input, idempotencyKey, traceparent }: StartRequest,
): Promise<Started> {
  const notFound = appError('workflow_not_found', { args: [shown(name)] });
  if (!isKebabName(name)) throw notFound;
  return withTenant(db, tenantId, async (client) => {
    const workflow = await getWorkflow(client, name);
    if (workflow === undefined) throw notFound;
    if (!workflow.enabled) throw appError('workflow_disabled', { args: [name] });
    requireInput(workflow.document, input);
    return startManually(client, {
      id: makeId(clock.now()),
      tenantId,
      workflowId: workflow.id,
      version: workflow.version,
      triggerName: manualTriggerName(workflow.document),
      input,
      idempotencyKey,
      traceparent,
    });
  });
}

function requireInput(document: JsonObject, input: JsonValue): void {
  const schema = document['inputSchema'];
  if (schema === undefined) return;
  const problems = checkInput(schema as JsonObject | boolean, input); // checked when it was saved
  if (problems.length === 0) return;
  const text = problems
    .map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
    .join('; ');
  throw appError('input_invalid', { args: [text], problems });
}

/** Any workflow can be started by hand; a manual trigger gives such a start its name. */
function manualTriggerName(document: JsonObject): string {
  const triggers = Object.entries(isRecord(document['triggers']) ? document['triggers'] : {});
  const manual = triggers.find(([, trigger]) => isRecord(trigger) && Object.hasOwn(trigger, 'manual'));
  return manual?.[0] ?? 'manual';
}
