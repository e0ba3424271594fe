// A process of its own: autocannon against one endpoint, with signed bodies. Prints its result as JSON.
import autocannon, { type AutocannonResult } from 'autocannon';
import type { ClosedLoopOrder, ClosedLoopResult } from './shapes.ts';
import { createHeaders, makeSignedBodies } from './signed-bodies.ts';

const POOL = 1000;
/** Enough for the code of both sides to be compiled; the rate of the second decides how long the measured phase is. */
const WARM_UP_AMOUNTS = [3000, 3000] as const;
const TIMEOUT_S = 30;

const order = JSON.parse(process.argv[2] ?? '') as ClosedLoopOrder;
const expected = String(order.expectedStatus ?? 202);
const bodies = makeSignedBodies(order.secret, POOL);
const headersOf = createHeaders();
let next = 0;
const failures: Record<string, number> = {};

interface Phase {
  readonly accepted: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly result: AutocannonResult;
}

async function load(amount: number): Promise<Phase> {
  const startedAtMs = Date.now();
  const running = autocannon({
    url: order.url,
    connections: order.connections,
    amount,
    timeout: TIMEOUT_S,
    requests: [
      {
        method: 'POST',
        setupRequest: (request) => {
          const signed = bodies[next++ % bodies.length]!; // the pool is not empty
          return { ...request, body: signed.body, headers: headersOf(signed) };
        },
      },
    ],
  });
  // autocannon looks whether it is done once a second; the last answer tells better.
  let endedAtMs = startedAtMs;
  running.on('response', () => (endedAtMs = Date.now()));
  const result = await running;
  for (const [status, { count }] of Object.entries(result.statusCodeStats)) {
    if (status !== expected) failures[status] = (failures[status] ?? 0) + count;
  }
  if (result.errors > 0) failures['connection errors'] = (failures['connection errors'] ?? 0) + result.errors;
  return { accepted: result.statusCodeStats[expected]?.count ?? 0, startedAtMs, endedAtMs, result };
}

/** How many requests the measured phase has; a warm-up tells the rate. */
async function amountOf(): Promise<number> {
  if ('amount' in order.load) return order.load.amount;
  let perSecond = 0;
  for (const amount of WARM_UP_AMOUNTS) {
    const phase = await load(amount);
    acceptedInAll += phase.accepted;
    perSecond = (phase.accepted / (phase.endedAtMs - phase.startedAtMs)) * 1000;
  }
  return Math.round(perSecond * order.load.seconds);
}

let acceptedInAll = 0;
const amount = Math.max(order.connections, await amountOf());
const cpuBefore = process.cpuUsage();
const measured = await load(amount);
const cpu = process.cpuUsage(cpuBefore);
acceptedInAll += measured.accepted;

const output: ClosedLoopResult = {
  accepted: measured.accepted,
  acceptedInAll,
  failures,
  startedAtMs: measured.startedAtMs,
  endedAtMs: measured.endedAtMs,
  p50Ms: measured.result.latency.p50,
  p99Ms: measured.result.latency.p99,
  clientCpuMs: (cpu.user + cpu.system) / 1000,
};
process.stdout.write(JSON.stringify(output));
