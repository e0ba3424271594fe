import type { Replayed } from '../../core/deliveries/replay.ts';
import { VERDICTS, type DeliveryDetail, type DeliverySummary } from '../../core/deliveries/store.ts';
import { z } from '../../core/zod.ts';
import { idShape, timeOf, timeShape } from './shapes.ts';

export const deliverySummaryShape = z.object({
  id: idShape,
  workflow: z.string(),
  trigger: z.string().describe('Name of the webhook trigger'),
  endpointId: z.string(),
  verdict: z.enum(VERDICTS),
  reason: z.string().nullable().describe('Why it was filtered or rejected'),
  method: z.string(),
  bodySize: z.int().describe('In bytes'),
  executionId: idShape.nullable(),
  duplicateOf: idShape.nullable().describe('The delivery that it repeats'),
  rootId: idShape.nullable().describe('Of a replay: the first delivery of the chain'),
  replayCount: z.int().describe('How often it was replayed, itself or through its replays'),
  receivedAt: timeShape,
});

export const deliveryShape = deliverySummaryShape.extend({
  query: z.string().describe('The raw query string'),
  headers: z.record(z.string(), z.unknown()).describe('Without secret ones'),
  dedupeKey: z.string().nullable(),
});

export const replayShape = z.object({
  deliveryId: idShape.describe('The new delivery'),
  executionId: idShape.optional().describe('Absent when it was filtered'),
  filtered: z.literal(true).optional(),
  reason: z.string().optional().describe('Why it was filtered'),
  rootId: idShape,
});

const replayFailureShape = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

export const bulkReplayShape = z.object({
  items: z.array(z.intersection(z.object({ id: z.string() }), z.union([replayShape, replayFailureShape]))),
});

export const toDeliverySummary = (delivery: DeliverySummary): z.infer<typeof deliverySummaryShape> => ({
  id: delivery.id,
  workflow: delivery.workflow,
  trigger: delivery.triggerName,
  endpointId: delivery.endpointId,
  verdict: delivery.verdict,
  reason: delivery.reason,
  method: delivery.method,
  bodySize: delivery.bodySize,
  executionId: delivery.executionId,
  duplicateOf: delivery.duplicateOf,
  rootId: delivery.rootId,
  replayCount: delivery.replayCount,
  receivedAt: timeOf(delivery.receivedAt),
});

export const toDelivery = (delivery: DeliveryDetail): z.infer<typeof deliveryShape> => ({
  ...toDeliverySummary(delivery),
  query: delivery.query,
  headers: { ...delivery.headers },
  dedupeKey: delivery.dedupeKey,
});

export const toReplay = (replayed: Replayed): z.infer<typeof replayShape> =>
  replayed.executionId === null
    ? {
        deliveryId: replayed.deliveryId,
        filtered: true,
        reason: replayed.reason ?? '',
        rootId: replayed.rootId,
      }
    : { deliveryId: replayed.deliveryId, executionId: replayed.executionId, rootId: replayed.rootId };
