import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { outputObject, toText } from './attacks/attack.ts';
import { HOST_ATTACKS } from './attacks/host.ts';
import {
  describeGvisor,
  startSecurityPlatform,
  testAftermath,
  testAttacks,
  type SecurityPlatform,
} from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security.stop());

test('X01 the sandboxes are gVisor’s, on systrap, as seen from outside and inside', async () => {
  expect(security.driver).toMatch(/^gvisor: /);
  const log = HOST_ATTACKS.find(({ row, language }) => row === 'X01' && language === 'python')!; // it is there
  const seen = await security.attack(log, security.tenant);
  const { version, platforms } = await describeGvisor(security);
  const kernel = toText(outputObject(seen.output)['log']).split('\n')[0];
  console.log(`${version}\n${platforms.join(' ')}\n${kernel}\n${security.driver}`);
  expect(version).toMatch(/^runsc version \S+/);
  expect(platforms).toEqual(['--platform=systrap']);
  expect(kernel).toMatch(/Starting gVisor/);
}, 60_000);

describe('what a step sees of the machine', () => testAttacks(() => security, HOST_ATTACKS));

describe('afterwards', () => testAftermath(() => security));
