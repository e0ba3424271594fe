// A process of its own: requests at a given rate, sent when they are due. Prints its result as JSON.
//
// autocannon's `overallRate` sends each second's share in one burst, as fast as its connections allow, and then pauses;
// that measures the burst, not the rate. So arrivals are spread here.
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { quantile } from '../statistics.ts';
import type { OpenLoopOrder, OpenLoopResult } from './shapes.ts';
import { createHeaders, makeSignedBodies } from './signed-bodies.ts';

const POOL = 1000;
const TICK_MS = 1;

const order = JSON.parse(process.argv[2] ?? '') as OpenLoopOrder;
const { origin, pathname } = new URL(order.url);
const bodies = makeSignedBodies(order.secret, POOL);
const headersOf = createHeaders();
const failures: Record<string, number> = {};
const pool = new Pool(origin, { connections: order.connections, pipelining: 1 });
let next = 0;
let refused = 0;

async function send(): Promise<void> {
  const signed = bodies[next++ % bodies.length]!; // the pool is not empty
  try {
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: pathname,
      headers: headersOf(signed),
      body: signed.body,
    });
    await body.dump();
    if (statusCode === order.refusalStatus) refused++;
    else if (statusCode !== order.expectedStatus) failures[statusCode] = (failures[statusCode] ?? 0) + 1;
  } catch (raw) {
    const reason = raw instanceof Error ? raw.message : String(raw);
    failures[reason] = (failures[reason] ?? 0) + 1;
  }
}

/** Resolves when all that was sent is answered, with the latencies from when each request was due. */
async function load(seconds: number): Promise<readonly number[]> {
  const latencies: number[] = [];
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1000;
  const gapMs = (): number =>
    (order.arrivals === 'even' ? 1 : -Math.log(1 - Math.random())) * (1000 / order.ratePerSecond);
  let dueAt = startedAt + gapMs();
  while (dueAt < endsAt) {
    const now = performance.now();
    for (; dueAt <= now && dueAt < endsAt; dueAt += gapMs()) {
      const wasDueAt = dueAt;
      const sending = send().then(() => {
        latencies.push(performance.now() - wasDueAt);
        underWay.delete(sending);
      });
      underWay.add(sending);
    }
    await delay(TICK_MS);
  }
  await Promise.all(underWay);
  return latencies;
}

const warmUp = await load(order.warmUpSeconds);
const startedAtMs = Date.now();
const cpuBefore = process.cpuUsage();
const measured = await load(order.seconds);
const cpu = process.cpuUsage(cpuBefore);
const endedAtMs = Date.now();
await pool.close();

const output: OpenLoopResult = {
  sent: measured.length,
  sentInAll: warmUp.length + measured.length,
  refused,
  failures,
  startedAtMs,
  endedAtMs,
  p50Ms: quantile(measured, 0.5),
  p99Ms: quantile(measured, 0.99),
  clientCpuMs: (cpu.user + cpu.system) / 1000,
};
process.stdout.write(JSON.stringify(output));
