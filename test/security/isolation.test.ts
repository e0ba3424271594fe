import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonValue } from '../../src/core/json.ts';
import type { AttackerTenant } from '../support/attack-platform.ts';
import { checkAllDenied, endingOf, outputObject, toText, type Seen } from './attacks/attack.ts';
import { LEFTOVER_ATTACKS, TENANT_ATTACKS, type TwoPartAttack } from './attacks/leftovers.ts';
import { PROCESS_ATTACKS } from './attacks/processes.ts';
import { startSecurityPlatform, testAftermath, testAttacks, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  // Spares would make it likely that another sandbox is looked at than the one where something was left.
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

const titleOf = ({ row, language, name }: TwoPartAttack): string => `${row} ${language}: ${name}`;

async function deploy(attack: TwoPartAttack, tenant: AttackerTenant, name?: string) {
  const deployed = await security.deploy(tenant, attack, name);
  return async (input: Readonly<Record<string, JsonValue>>): Promise<Seen> =>
    security.end(tenant, await security.start(deployed, input));
}

/** What looks finds what was left where nothing comes between: a door that is misspelt would be closed to all. */
function checkFound(closed: readonly string[], seen: Seen): void {
  expect(endingOf(seen)).toBe('succeeded');
  const doors = Object.entries(outputObject(seen.output));
  const shut = doors.filter(([, answer]) => !toText(answer).startsWith('got')).map(([name]) => name);
  expect(shut.filter((name) => !closed.includes(name))).toEqual([]);
  expect(doors.length).toBeGreaterThan(shut.length);
}

test.concurrent.each(
  [...LEFTOVER_ATTACKS, ...TENANT_ATTACKS].flatMap((attack) =>
    attack.closed === undefined ? [] : [[titleOf(attack), attack, attack.closed] as const],
  ),
)(
  '%s: who looks finds it within one execution',
  async (_, attack, closed) => {
    const run = await deploy(attack, security.tenant);
    checkFound(closed, await run({ mode: 'both', marker: 'left-by-tenant-a' }));
  },
  120_000,
);

/** Every slot of every sandbox that the workflow may have had is looked into. */
async function lookEverywhere(run: (input: { readonly mode: string }) => Promise<Seen>): Promise<void> {
  for (let round = 0; round < 2; round++) {
    const seen = await Promise.all([run({ mode: 'look' }), run({ mode: 'look' })]);
    for (const one of seen) {
      expect(endingOf(one)).toBe('succeeded');
      checkAllDenied(one);
      expect(
        one.logs.map(({ message }) => message).filter((message) => message.includes('bothered')),
      ).toEqual([]);
    }
  }
}

test.concurrent.each(LEFTOVER_ATTACKS.map((attack) => [titleOf(attack), attack] as const))(
  '%s',
  async (_, attack) => {
    const run = await deploy(attack, security.tenant);
    // What is seen without anything having been left: the test's own mistakes.
    checkAllDenied(await run({ mode: 'look' }));
    for (const marker of ['left-first', 'left-second', 'left-third']) {
      const left = await run({ mode: 'leave', marker });
      expect(attack.ends).toContain(endingOf(left));
    }
    await lookEverywhere(run);
  },
  120_000,
);

test.concurrent.each(TENANT_ATTACKS.map((attack) => [titleOf(attack), attack] as const))(
  '%s',
  async (_, attack) => {
    const name = `shared-name-${attack.language}`;
    const first = await deploy(attack, await security.makeTenant(`${attack.language}-a`), name);
    const second = await deploy(attack, await security.makeTenant(`${attack.language}-b`), name);
    for (let round = 0; round < 3; round++) {
      expect(attack.ends).toContain(endingOf(await first({ mode: 'leave', marker: 'left-by-tenant-a' })));
      const seen = await second({ mode: 'look' });
      expect(endingOf(seen)).toBe('succeeded');
      checkAllDenied(seen);
    }
  },
  120_000,
);

describe('processes that stay or kill', () => testAttacks(() => security, PROCESS_ATTACKS));

describe('afterwards', () => testAftermath(() => security));
