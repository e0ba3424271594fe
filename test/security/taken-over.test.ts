import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Deployed } from '../support/attack-platform.ts';
import { provideTakenOverRootfs, type TakenOverInput } from '../support/taken-over.ts';
import { checkAttack, titleOf, type Attack, type Seen } from './attacks/attack.ts';
import { FORBIDDEN_PATH, TAKEN_OVER_ATTACKS, takenOverInput } from './attacks/taken-over.ts';
import { goodStep } from './good-steps.ts';
import { startSecurityPlatform, testAftermath, type SecurityPlatform } from './harness.ts';

const JAVASCRIPT = { language: 'javascript', source: 'export default () => null;' } as const;

/** In real gVisor, with a worker as it always is; but what it starts in place of the JavaScript runner is the attackers'. */
let security: SecurityPlatform;
/** Of another tenant, in a runner like the attackers' and in an honest one. */
let neighbours: { readonly javascript: Deployed; readonly python: Deployed };
beforeAll(async () => {
  security = await startSecurityPlatform({ env: { MILLRACE_RUNNER_ROOTFS: await provideTakenOverRootfs() } });
  const tenant = await security.makeTenant('neighbours');
  neighbours = {
    javascript: await security.deploy(tenant, JAVASCRIPT),
    python: await security.deploy(tenant, goodStep('python')),
  };
}, 240_000);
afterAll(() => security?.stop());

const runIn = async (deployed: Deployed, input: Partial<TakenOverInput>): Promise<Seen> =>
  security.end(deployed.tenant, await security.start(deployed, takenOverInput(input)));

async function runNeighbours(): Promise<void> {
  const { javascript, python } = neighbours;
  const [one, two] = await Promise.all([
    runIn(javascript, { good: 'neighbour', waitMs: 500 }),
    security.start(python, { n: 21 }).then((id) => security.end(python.tenant, id)),
  ]);
  for (const { logs } of [one, two]) {
    expect(logs.filter(({ message }) => message.includes('sandbox was lost'))).toEqual([]);
  }
  expect(one).toMatchObject({ state: 'succeeded', output: 'neighbour', attempts: 1 });
  expect(two).toMatchObject({ state: 'succeeded', output: { n: 21, doubled: 42 }, attempts: 1 });
}

/** The attack ends as it has to, others go on meanwhile, and the worker afterwards. */
async function runBesideNeighbours(attack: Attack): Promise<void> {
  const keys = attack.keys?.(security.around) ?? {};
  const deployed = await security.deploy(security.tenant, { ...attack, keys });
  const id = await security.start(deployed, attack.input?.(security.around) ?? {});
  const [seen] = await Promise.all([security.end(security.tenant, id), runNeighbours()]);
  checkAttack(attack, seen);
  expect(await runIn(deployed, { good: 'next' })).toMatchObject({ state: 'succeeded', output: 'next' });
}

describe('a JavaScript runner that belongs to its step', () => {
  const named = TAKEN_OVER_ATTACKS.map((attack) => [titleOf(attack), attack] as const);
  test.concurrent.each(named.filter(([, { heavy }]) => heavy !== true))(
    '%s',
    (_, attack) => runBesideNeighbours(attack),
    240_000,
  );
  test.each(named.filter(([, { heavy }]) => heavy === true))(
    '%s',
    (_, attack) => runBesideNeighbours(attack),
    240_000,
  );
});

test('X20 nothing was sent for a fetch that is nobody’s', () => {
  const paths = security.sink.entries.map(({ path }) => path);
  // Those of a run do arrive.
  expect(paths).toContain('/ok');
  expect(paths).not.toContain(FORBIDDEN_PATH);
});

test('X10 a step in the same sandbox as a runner that exits runs again, and succeeds', async () => {
  const deployed = await security.deploy(security.tenant, JAVASCRIPT);
  const [attack, neighbour] = await Promise.all([
    runIn(deployed, { attack: 'Deno.exit(0);', waitMs: 1000 }),
    runIn(deployed, { good: 'neighbour', waitMs: 3000 }),
  ]);
  expect(attack).toMatchObject({ state: 'failed', output: null, error: { code: 'resource_limit' } });
  expect(neighbour).toMatchObject({ state: 'succeeded', output: 'neighbour', attempts: 1 });
}, 120_000);

test('X15 what a runner keeps of one tenant is never another’s', async () => {
  const name = 'shared-name-taken-over';
  const first = await security.deploy(await security.makeTenant('taken-over-a'), JAVASCRIPT, name);
  const second = await security.deploy(await security.makeTenant('taken-over-b'), JAVASCRIPT, name);
  const look = { attack: 'return globalThis.left ?? null;' };
  const found: unknown[] = [];
  for (let round = 0; round < 3; round++) {
    const attack = 'globalThis.left = given; return given;';
    expect((await runIn(first, { attack, given: 'left-by-tenant-a' })).output).toBe('left-by-tenant-a');
    found.push((await runIn(first, look)).output);
    expect(await runIn(second, look)).toMatchObject({ state: 'succeeded', output: null });
  }
  // Who looks would find it: the tenant's own next execution has its sandbox, as long as that is kept.
  expect(found).toContain('left-by-tenant-a');
}, 120_000);

describe('afterwards', () => testAftermath(() => security));
