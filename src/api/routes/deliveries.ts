import { withTenant } from '../../core/db/database.ts';
import { makeId } from '../../core/db/ids.ts';
import { replayDelivery, type Replayed, type ReplayRequest } from '../../core/deliveries/replay.ts';
import { getDelivery, getDeliveryBody, listDeliveries, VERDICTS } from '../../core/deliveries/store.ts';
import { AppError, appError } from '../../core/errors/app-error.ts';
import type { JsonValue } from '../../core/json.ts';
import type { Trace } from '../../core/telemetry/tracing.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import type { Cursors } from '../http/cursor.ts';
import { operation, type Operation } from '../http/operation.ts';
import { cursorParam, isId, limitParam, nameParam, shown, timeParam } from '../http/params.ts';
import {
  bulkReplayShape,
  deliveryShape,
  deliverySummaryShape,
  replayShape,
  toDelivery,
  toDeliverySummary,
  toReplay,
} from './delivery-shapes.ts';
import { pageOf, pageShape } from './shapes.ts';

const MAX_BULK = 100;
const idParam = { id: 'Id of the delivery' };
const versionField = z
  .int({ error: 'must be a whole number' })
  .min(1, { error: 'must be 1 or more' })
  .max(2_147_483_647, { error: 'is too large for a version' })
  .optional()
  .describe('Of the workflow; the current one without it');

const deliveryNotFound = (id: string) => appError('delivery_not_found', { args: [shown(id)] });

/** A body that callers sent: nothing in it may run where it is opened. */
const RAW_BODY_HEADERS = {
  'content-type': 'application/octet-stream',
  'content-disposition': 'attachment; filename="body"',
  'content-security-policy': "sandbox; default-src 'none'",
  'x-content-type-options': 'nosniff',
} as const;

async function replay(
  { db, clock, hints }: ApiDeps,
  tenantId: string,
  request: ReplayRequest,
  trace: Trace | undefined,
): Promise<Replayed> {
  if (!isId(request.id)) throw deliveryNotFound(request.id);
  const nowMs = clock.now();
  const ids = { deliveryId: makeId(nowMs), executionId: makeId(nowMs) };
  const traced = { ...request, traceparent: trace?.traceparent };
  const replayed = await withTenant(db, tenantId, (client) => replayDelivery(client, traced, ids, nowMs));
  if (replayed.originalTraceparent !== undefined) trace?.span?.link(replayed.originalTraceparent);
  if (replayed.executionId !== null) {
    hints.publish([{ executionId: replayed.executionId, dispatchNumber: 0, span: trace?.span }]);
  }
  return replayed;
}

function requireReplay({ settings }: ApiDeps): void {
  if (!settings.replayEnabled) throw appError('replay_disabled');
}

const readOperations = (cursors: Cursors): readonly Operation[] => [
  operation({
    id: 'listDeliveries',
    method: 'get',
    path: '/deliveries',
    tag: 'deliveries',
    summary: 'List deliveries, newest first',
    role: 'viewer',
    params: {},
    query: {
      workflow: nameParam('Only deliveries to this workflow'),
      verdict: z
        .enum(VERDICTS, { error: `must be one of ${VERDICTS.join(', ')}` })
        .optional()
        .describe('Only deliveries with this verdict'),
      endpointId: z
        .string()
        .regex(/^[0-9a-f]{40}$/, { error: 'must be 40 hexadecimal digits' })
        .optional()
        .describe('Only deliveries to this endpoint'),
      from: timeParam('Only those received at or after this time'),
      to: timeParam('Only those received before this time'),
      limit: limitParam,
      cursor: cursorParam,
    },
    replies: { 200: { description: 'A page', schema: pageShape(deliverySummaryShape) } },
    errors: ['invalid_cursor'],
    handle: async ({ db }, { principal, query }) => {
      const { limit, cursor, ...filter } = query;
      const binding = { list: 'deliveries', tenantId: principal.tenantId, filters: filter };
      const [beforeId] = cursor === undefined ? [] : cursors.decode(cursor, binding);
      const rows = await withTenant(db, principal.tenantId, (client) =>
        listDeliveries(client, filter, { limit: limit + 1, beforeId }),
      );
      const { items, last } = pageOf(rows, limit);
      const json: z.infer<ReturnType<typeof pageShape<typeof deliverySummaryShape>>> = {
        items: items.map(toDeliverySummary),
        nextCursor: last === undefined ? null : cursors.encode([last.id], binding),
      };
      return { status: 200, json };
    },
  }),
  operation({
    id: 'getDelivery',
    method: 'get',
    path: '/deliveries/{id}',
    tag: 'deliveries',
    summary: 'Get a delivery with its headers',
    role: 'viewer',
    params: idParam,
    replies: { 200: { description: 'The delivery', schema: deliveryShape } },
    errors: ['delivery_not_found'],
    handle: async ({ db }, { principal, params }) => {
      if (!isId(params.id)) throw deliveryNotFound(params.id);
      const delivery = await withTenant(db, principal.tenantId, (client) => getDelivery(client, params.id));
      if (delivery === undefined) throw deliveryNotFound(params.id);
      return { status: 200, json: toDelivery(delivery) };
    },
  }),
  operation({
    id: 'getDeliveryBody',
    method: 'get',
    path: '/deliveries/{id}/body',
    tag: 'deliveries',
    summary: 'Download the raw bytes of a delivery',
    role: 'viewer',
    params: idParam,
    replies: {
      200: {
        description: 'The bytes as they came, decompressed; of a duplicate those of the delivery it repeats',
        schema: z.string().meta({ contentEncoding: 'binary' }),
        mediaType: 'application/octet-stream',
      },
    },
    errors: ['delivery_not_found'],
    handle: async ({ db }, { principal, params }) => {
      if (!isId(params.id)) throw deliveryNotFound(params.id);
      const bytes = await withTenant(db, principal.tenantId, (client) => getDeliveryBody(client, params.id));
      if (bytes === undefined) throw deliveryNotFound(params.id);
      return { status: 200, bytes, headers: RAW_BODY_HEADERS };
    },
  }),
];

const replayErrors = [
  'replay_disabled',
  'delivery_not_found',
  'delivery_not_replayable',
  'workflow_disabled',
  'workflow_version_not_found',
  'filter_limit',
] as const;

const replayOperations: readonly Operation[] = [
  operation({
    id: 'replayDelivery',
    method: 'post',
    path: '/deliveries/{id}/replay',
    tag: 'deliveries',
    summary: 'Take a delivery in once more, as a new one',
    role: 'editor',
    params: idParam,
    body: {
      schema: z.strictObject({
        body: z
          .unknown()
          .optional()
          .describe('Instead of the stored bytes: a text is sent as it is, anything else as JSON'),
        version: versionField,
      }),
      empty: {},
    },
    replies: { 202: { description: 'Recorded, and queued unless it was filtered', schema: replayShape } },
    errors: replayErrors,
    handle: async (deps, { principal, params, body, trace }) => {
      requireReplay(deps);
      const request = {
        id: params.id,
        body: body.body as JsonValue | undefined, // parsed from JSON
        version: body.version,
      };
      return { status: 202, json: toReplay(await replay(deps, principal.tenantId, request, trace)) };
    },
  }),
  operation({
    id: 'replayDeliveries',
    method: 'post',
    path: '/deliveries/replay',
    tag: 'deliveries',
    summary: 'Take several deliveries in once more',
    role: 'editor',
    params: {},
    body: {
      schema: z.strictObject({
        ids: z
          .array(z.string())
          .min(1, { error: 'must name at least one delivery' })
          .max(MAX_BULK, { error: `must name at most ${MAX_BULK} deliveries` })
          .refine((ids) => new Set(ids).size === ids.length, { error: 'must name each delivery once' }),
        version: versionField,
      }),
    },
    replies: { 202: { description: 'What became of each, in the order of `ids`', schema: bulkReplayShape } },
    errors: ['replay_disabled'],
    handle: async (deps, { principal, body, trace }) => {
      requireReplay(deps);
      const items: z.infer<typeof bulkReplayShape>['items'] = [];
      for (const id of body.ids)
        items.push(await replayOne(deps, principal.tenantId, { id, version: body.version }, trace));
      return { status: 202, json: { items } };
    },
  }),
];

/** One that cannot be replayed does not keep the others from it. */
async function replayOne(
  deps: ApiDeps,
  tenantId: string,
  request: ReplayRequest,
  trace: Trace | undefined,
): Promise<z.infer<typeof bulkReplayShape>['items'][number]> {
  try {
    return { id: request.id, ...toReplay(await replay(deps, tenantId, request, trace)) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { id: request.id, error: { code: error.code, message: error.message } };
  }
}

export const deliveryOperations = (cursors: Cursors): readonly Operation[] => [
  ...readOperations(cursors),
  ...replayOperations,
];
