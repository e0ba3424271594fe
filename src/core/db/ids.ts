import { randomBytes } from 'node:crypto';
import { v7 } from 'uuid';

/** A UUIDv7 (RFC 9562) whose time is `nowMs`; rows of partitioned tables are found and expire by it. */
export function makeId(nowMs: number): string {
  return v7({ msecs: Math.floor(nowMs), random: randomSlice() });
}

// One call of the random generator for many ids: 16 bytes each from a pool that is used up, never reused.
const POOL_BYTES = 4096;
let pool = Buffer.alloc(0);
let used = 0;
function randomSlice(): Buffer {
  if (used + 16 > pool.length) {
    pool = randomBytes(POOL_BYTES);
    used = 0;
  }
  used += 16;
  return pool.subarray(used - 16, used);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether `text` is a UUID in the spelling that PostgreSQL prints. */
export const isUuid = (text: string): boolean => UUID.test(text);
