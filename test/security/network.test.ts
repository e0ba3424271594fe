import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BROKER_ATTACKS, LATE_CALLERS } from './attacks/broker.ts';
import { FETCH_ATTACKS, NETWORK_ATTACKS } from './attacks/network.ts';
import { FOREIGN_SECRET } from '../support/attack-platform.ts';
import { startSecurityPlatform, testAftermath, testAttacks, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

describe('a network without the broker', () => testAttacks(() => security, NETWORK_ATTACKS));
describe('hosts beyond what is allowed', () => testAttacks(() => security, FETCH_ATTACKS));
describe('credentials beyond what is listed', () => testAttacks(() => security, BROKER_ATTACKS));

test.each(['credentials', 'secrets'])(
  'X20 another tenant’s credential cannot be listed under `%s`: it is as unknown as any other name',
  async (key) => {
    const save = async (name: string) => {
      const reply = await security.tenant.call('PUT', '/api/v1/workflows/thief', {
        definition: JSON.stringify({
          name: 'thief',
          triggers: { go: { manual: {} } },
          steps: [{ id: 'steal', code: 'steps/steal.js', [key]: [name] }],
        }),
        files: { 'steps/steal.js': 'export default () => 1;' },
      });
      const { requestId } = reply.data as { readonly requestId: string };
      return { status: reply.status, text: reply.text.replaceAll(name, 'NAME').replace(requestId, 'ID') };
    };
    const foreign = await save(FOREIGN_SECRET);
    expect(foreign.status).toBe(404);
    expect(foreign).toEqual(await save('no-such-secret'));
  },
);

test.each(LATE_CALLERS.map((caller) => [`X20 ${caller.language}: ${caller.name}`, caller] as const))(
  '%s',
  async (_, caller) => {
    const path = `/late-${caller.language}`;
    const deployed = await security.deploy(security.tenant, {
      ...caller,
      keys: { egress: [security.around.sinkHost] },
    });
    const end = async (mode: string) =>
      security.end(
        security.tenant,
        await security.start(deployed, { mode, url: security.around.sinkUrl + path }),
      );
    const calls = () => security.sink.entries.filter((entry) => entry.path === path).length;
    await end('stay');
    expect(calls()).toBeGreaterThan(0);
    const left = await end('leave');
    expect(caller.ends).toContain(left.error?.code ?? left.state);
    // What was under way when the step ended may have arrived.
    await delay(50);
    const before = calls();
    // Others in the same sandbox, while whatever was left goes on.
    for (let n = 0; n < 3; n++) expect((await end('look')).output).toBe('looked');
    expect(calls()).toBe(before);
  },
  60_000,
);

describe('afterwards', () => testAftermath(() => security));
