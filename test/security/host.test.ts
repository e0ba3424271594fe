import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonValue } from '../../src/core/json.ts';
import { runTakenOver } from '../support/taken-over.ts';
import { checkAllDenied, outputObject, toText } from './attacks/attack.ts';
import { HOST_ATTACKS, HOST_DOORS } from './attacks/host.ts';
import { NETWORK_DOORS, targets } from './attacks/network.ts';
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

const checkDoors = (doors: unknown): void => checkAllDenied({ output: doors as JsonValue, error: null });

describe('what a step sees of the machine', () => testAttacks(() => security, HOST_ATTACKS));

test('X02 javascript: a runner taken over entirely has no file, process, library or permission either', async () => {
  checkDoors(await runTakenOver(HOST_DOORS, { files: security.around.files }));
}, 120_000);

test('X11 javascript: a runner taken over entirely reaches no network either', async () => {
  const { listenerPort, hostAddresses } = security.around;
  const address = hostAddresses.find((one) => !one.includes(':')) ?? '127.0.0.1';
  const given = { ...targets(security.around), url: `http://${address}:${listenerPort}/` };
  checkDoors(await runTakenOver(NETWORK_DOORS, given));
}, 180_000);

describe('afterwards', () => testAftermath(() => security));
