import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXHAUSTION_ATTACKS } from './attacks/exhaustion.ts';
import { FLOOD_ATTACKS } from './attacks/output.ts';
import { goodStep, percentile } from './good-steps.ts';
import { startSecurityPlatform, testAftermath, testAttacks, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

describe('processes, memory and files', () => testAttacks(() => security, EXHAUSTION_ATTACKS));

test('X04 a fork bomb of one tenant leaves the steps of another as they were', async () => {
  const neighbour = await security.makeTenant('neighbour');
  const deployed = await security.deploy(neighbour, goodStep('javascript'));
  const runOnce = async (n: number): Promise<number> => {
    const seen = await security.end(neighbour, await security.start(deployed, { n }));
    expect(seen).toMatchObject({ state: 'succeeded', output: { n, doubled: n * 2 } });
    return seen.durationMs;
  };
  const measure = async (count: number): Promise<number> => {
    const durations: number[] = [];
    for (let n = 0; n < count; n++) durations.push(await runOnce(n));
    return percentile(durations, 0.95);
  };
  await measure(3);
  const alone = await measure(40);
  const bombs = EXHAUSTION_ATTACKS.filter(({ row }) => row === 'X04').map((attack) =>
    security.attack(attack, security.tenant),
  );
  const beside = await measure(40);
  await Promise.all(bombs);
  console.log(`X04 neighbours' p95: ${alone} ms alone, ${beside} ms beside ${bombs.length} bombs`);
  expect(beside).toBeLessThan(alone * 5 + 500);
}, 120_000);

describe('floods of output', () => {
  let before = 0;
  beforeAll(() => {
    before = process.memoryUsage.rss();
  });

  testAttacks(() => security, FLOOD_ATTACKS);

  test('X08 the worker’s memory stays flat under floods', () => {
    const grown = (process.memoryUsage.rss() - before) / 1e6;
    console.log(`X08 the worker's memory grew by ${Math.round(grown)} MB`);
    // This process holds the API, the worker and each log that was read for the search.
    expect(grown).toBeLessThan(250);
  });
});

describe('afterwards', () => testAftermath(() => security));
