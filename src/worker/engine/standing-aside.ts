import type { JsonValue } from '../../core/json.ts';
import type { Run } from './run.ts';

/** What is more is not measured: no execution that holds so much gives its slot away. */
const ENOUGH_BYTES = 16 * 1024 * 1024;

/**
 * Whether nothing of the execution needs this worker until an answer comes from outside. A step that waits for a sandbox or
 * runs in one does: sandboxes have bounds of their own, and more executions that wait for them would help nobody.
 */
export const waitsOutside = (run: Run): boolean =>
  run.active > 0 && run.tracks.every(({ active, step }) => active === 0 || step.kind === 'http');

/** About what the execution holds in memory: its delivery and the outputs that later steps may read. */
export function heldBytes(run: Run): number {
  let bytes = 2 * ((run.claim.delivery?.body.length ?? 0) + (run.claim.inputJson?.length ?? 0));
  for (const { output, units } of run.tracks) {
    bytes += sizeOf(output);
    for (const unit of units ?? []) bytes += sizeOf(unit.value) + sizeOf(unit.output);
    if (bytes > ENOUGH_BYTES) return Infinity;
  }
  return bytes;
}

/** Outputs never change, and every slow call of an execution asks for all of them again. */
const sizes = new WeakMap<object, number>();

function sizeOf(value: JsonValue | undefined): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 0;
  const size = sizes.get(value) ?? JSON.stringify(value).length;
  sizes.set(value, size);
  return size;
}
