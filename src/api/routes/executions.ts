import { withTenant } from '../../core/db/database.ts';
import { makeId } from '../../core/db/ids.ts';
import { appError } from '../../core/errors/app-error.ts';
import { cancelExecution, createRetry } from '../../core/executions/lifecycle.ts';
import { getExecution, listExecutions, workflowOfExecution } from '../../core/executions/read.ts';
import { executionStats } from '../../core/executions/stats.ts';
import { EXECUTION_STATES } from '../../core/executions/status.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import type { Cursors } from '../http/cursor.ts';
import { operation, type Operation } from '../http/operation.ts';
import { cursorParam, isId, limitParam, nameParam, shown, timeParam } from '../http/params.ts';
import {
  executionShape,
  executionSummaryShape,
  statsShape,
  toExecution,
  toExecutionSummary,
} from './execution-shapes.ts';
import { executionStateShape, idShape, pageOf, pageShape } from './shapes.ts';

const filterParams = {
  workflow: nameParam('Only executions of this workflow'),
  from: timeParam('Only those created at or after this time'),
  to: timeParam('Only those created before this time'),
};
const idParam = { id: 'Id of the execution' };

export const executionNotFound = (id: string) => appError('execution_not_found', { args: [shown(id)] });

/** The execution as callers see it. @throws AppError `execution_not_found` */
export async function readExecution(
  { db }: Pick<ApiDeps, 'db'>,
  tenantId: string,
  id: string,
): Promise<z.infer<typeof executionShape>> {
  const found = isId(id) ? await withTenant(db, tenantId, (client) => getExecution(client, id)) : undefined;
  if (found === undefined) throw executionNotFound(id);
  return toExecution(found);
}

export const executionOperations = (cursors: Cursors): readonly Operation[] => [
  operation({
    id: 'listExecutions',
    method: 'get',
    path: '/executions',
    tag: 'executions',
    summary: 'List executions, newest first',
    role: 'viewer',
    params: {},
    query: {
      ...filterParams,
      state: z
        .enum(EXECUTION_STATES, { error: `must be one of ${EXECUTION_STATES.join(', ')}` })
        .optional()
        .describe('Only executions in this state'),
      limit: limitParam,
      cursor: cursorParam,
    },
    replies: { 200: { description: 'A page', schema: pageShape(executionSummaryShape) } },
    errors: ['invalid_cursor'],
    handle: async ({ db }, { principal, query }) => {
      const { limit, cursor, ...filter } = query;
      const binding = { list: 'executions', tenantId: principal.tenantId, filters: filter };
      const [beforeId] = cursor === undefined ? [] : cursors.decode(cursor, binding);
      const rows = await withTenant(db, principal.tenantId, (client) =>
        listExecutions(client, filter, { limit: limit + 1, beforeId }),
      );
      const { items, last } = pageOf(rows, limit);
      const json: z.infer<ReturnType<typeof pageShape<typeof executionSummaryShape>>> = {
        items: items.map(toExecutionSummary),
        nextCursor: last === undefined ? null : cursors.encode([last.id], binding),
      };
      return { status: 200, json };
    },
  }),
  operation({
    id: 'getExecutionStats',
    method: 'get',
    path: '/executions/stats',
    tag: 'executions',
    summary: 'Count executions by state, with percentiles of their duration',
    role: 'viewer',
    params: {},
    query: filterParams,
    replies: { 200: { description: 'Counts and percentiles', schema: statsShape } },
    errors: [],
    handle: async ({ db }, { principal, query }) => {
      const json: z.infer<typeof statsShape> = await withTenant(db, principal.tenantId, (client) =>
        executionStats(client, query),
      );
      return { status: 200, json };
    },
  }),
  operation({
    id: 'getExecution',
    method: 'get',
    path: '/executions/{id}',
    tag: 'executions',
    summary: 'Get an execution with its steps',
    role: 'viewer',
    params: idParam,
    replies: { 200: { description: 'The execution', schema: executionShape } },
    errors: ['execution_not_found'],
    handle: async (deps, { principal, params }) => ({
      status: 200,
      json: await readExecution(deps, principal.tenantId, params.id),
    }),
  }),
  operation({
    id: 'cancelExecution',
    method: 'post',
    path: '/executions/{id}/cancel',
    tag: 'executions',
    summary: 'Cancel an execution',
    role: 'editor',
    params: idParam,
    body: {
      schema: z.strictObject({
        reason: z
          .string()
          .max(500, { error: 'must be at most 500 characters' })
          .regex(/^\P{Cc}*$/u, { error: 'must hold no control characters' })
          .optional(),
      }),
      empty: {},
    },
    replies: {
      202: {
        description: 'It ends at once, or, when a worker runs it, within about a second',
        schema: z.object({ executionId: idShape, state: executionStateShape }),
      },
    },
    errors: ['execution_not_found', 'execution_ended'],
    handle: async ({ db }, { principal, params, body }) => {
      if (!isId(params.id)) throw executionNotFound(params.id);
      const reason = body.reason ?? `Cancelled with API key ${principal.keyName}`;
      const state = await withTenant(db, principal.tenantId, (client) =>
        cancelExecution(client, params.id, reason),
      );
      return { status: 202, json: { executionId: params.id, state } };
    },
  }),
  operation({
    id: 'retryExecution',
    method: 'post',
    path: '/executions/{id}/retry',
    tag: 'executions',
    summary: 'Repeat an ended execution as a new one',
    role: 'editor',
    params: idParam,
    body: {
      schema: z.strictObject({
        from: z
          .enum(['failed', 'start'], { error: 'must be failed or start' })
          .default('failed')
          .describe('`failed` keeps the outcomes of steps that succeeded; `start` runs all of them again'),
        version: z
          .enum(['same', 'latest'], { error: 'must be same or latest' })
          .default('same')
          .describe('Which version of the workflow to run'),
      }),
      empty: { from: 'failed', version: 'same' },
    },
    replies: {
      202: { description: 'The new execution', schema: z.object({ executionId: idShape, retryOf: idShape }) },
    },
    errors: [
      'execution_not_found',
      'execution_not_ended',
      'delivery_not_replayable',
      'workflow_not_found',
      'workflow_disabled',
    ],
    handle: async ({ db, clock, hints }, { principal, params, body, trace }) => {
      if (!isId(params.id)) throw executionNotFound(params.id);
      const id = makeId(clock.now());
      const traceparent = trace && { traceparent: trace.traceparent };
      await withTenant(db, principal.tenantId, async (client) => {
        const workflow = await workflowOfExecution(client, params.id);
        if (workflow === undefined) throw executionNotFound(params.id);
        if (workflow.isDeleted) throw appError('workflow_not_found', { args: [workflow.name] });
        if (!workflow.enabled) throw appError('workflow_disabled', { args: [workflow.name] });
        const version = body.version === 'latest' ? { version: workflow.currentVersion } : {};
        const retried = await createRetry(client, {
          id,
          of: params.id,
          from: body.from,
          ...version,
          ...traceparent,
        });
        if (retried.traceparent !== undefined) trace?.span?.link(retried.traceparent);
      });
      hints.publish([{ executionId: id, dispatchNumber: 0, span: trace?.span }]);
      return { status: 202, json: { executionId: id, retryOf: params.id } };
    },
  }),
];
