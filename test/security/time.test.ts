import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkAttack, titleOf } from './attacks/attack.ts';
import { TIME_ATTACKS, TIMEOUT_MS } from './attacks/time.ts';
import { startSecurityPlatform, testAftermath, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

/** SECURITY X07 allows a second; some more for a machine that is busy with other things. */
const MARGIN_MS = 1500;
let latestMs = 0;

test.each(TIME_ATTACKS.map((attack) => [titleOf(attack), attack] as const))(
  '%s in time, and its neighbour in the same sandbox succeeds',
  async (_, attack) => {
    const keys = attack.keys?.(security.around) ?? {};
    const deployed = await security.deploy(security.tenant, { ...attack, keys });
    const end = async (input: { readonly good?: string }) =>
      security.end(security.tenant, await security.start(deployed, input));
    // Two at once: its sandbox, and both slots in it, are there afterwards, so that no start of them is measured.
    await Promise.all([end({ good: 'first' }), end({ good: 'first, too' })]);
    const [bad, good] = await Promise.all([end({}), end({ good: 'neighbour' })]);
    latestMs = Math.max(latestMs, bad.durationMs - TIMEOUT_MS);
    checkAttack({ ...attack, withinMs: TIMEOUT_MS + MARGIN_MS }, bad);
    expect(good.error).toBeNull();
    expect(good.output).toBe('neighbour');
    expect((await end({ good: 'next' })).output).toBe('next');
  },
  60_000,
);

afterAll(() => console.log(`X07 ended ${Math.round(latestMs)} ms after the time-out at the latest`));

describe('afterwards', () => testAftermath(() => security));
