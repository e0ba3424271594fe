import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PROTOCOL_ATTACKS } from './attacks/protocol.ts';
import { RESULT_ATTACKS } from './attacks/output.ts';
import { startSecurityPlatform, testAftermath, testAttacks, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

describe('results that are none', () => testAttacks(() => security, RESULT_ATTACKS));

test('X09 no result has changed a prototype of the worker', () => {
  expect(Object.keys(Object.prototype)).toEqual([]);
  for (const key of ['polluted', 'isAdmin', 'x'])
    expect(({} as Record<string, unknown>)[key]).toBeUndefined();
});

describe('a runner in the hands of its step', () => testAttacks(() => security, PROTOCOL_ATTACKS));

describe('afterwards', () => testAftermath(() => security));
