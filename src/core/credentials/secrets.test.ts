import { describe, expect, test } from 'vitest';
import { REDACTED } from './redact.ts';
import { createRedactors, loadCredentials, loadSecrets } from './secrets.ts';
import type { Credential } from './types.ts';

const SIGNING: Credential = { type: 'secret', data: { value: 'signing-canary' } };
const ROTATED: Credential = {
  type: 'secret',
  data: { value: 'new-canary', previous: { value: 'old-canary', notAfter: '2026-01-31T00:00:00Z' } },
};
const CRM: Credential = { type: 'bearer', data: { token: 'crm-canary', baseUrl: 'https://crm.example' } };

const stored = new Map<string, Credential>([
  ['t1/signing', SIGNING],
  ['t1/rotated', ROTATED],
  ['t1/crm', CRM],
]);
const read = async (tenantId: string, name: string): Promise<Credential | undefined> =>
  stored.get(`${tenantId}/${name}`);

describe('secrets', () => {
  test('are the current values by name', async () => {
    expect(await loadSecrets(read, 't1', ['signing', 'rotated'])).toEqual({
      signing: 'signing-canary',
      rotated: 'new-canary',
    });
    expect(await loadSecrets(read, 't1', [])).toEqual({});
  });

  test.each([
    ['t1', 'nowhere', 'Credential nowhere does not exist; create it, then retry the execution'],
    ['t2', 'signing', 'Credential signing does not exist; create it, then retry the execution'],
    [
      't1',
      'crm',
      '`secrets` takes credentials of type secret, and crm is of type bearer; list it under `credentials` and use it as ctx.fetch("crm:/path"), so that its value stays out of the sandbox',
    ],
  ])('of %s named %s are credential_missing', async (tenantId, name, message) => {
    await expect(loadSecrets(read, tenantId, [name])).rejects.toMatchObject({
      code: 'credential_missing',
      retryable: false,
      message,
    });
  });

  test('of any type are loaded by name', async () => {
    expect([...(await loadCredentials(read, 't1', ['crm', 'signing']))]).toEqual([
      ['crm', CRM],
      ['signing', SIGNING],
    ]);
  });
});

describe('redactors', () => {
  test('mask every value of every credential, the previous ones too', () => {
    const { text } = createRedactors()([ROTATED, CRM]);
    expect(text('new-canary old-canary crm-canary signing-canary')).toBe(
      `${REDACTED} ${REDACTED} ${REDACTED} signing-canary`,
    );
  });

  test('are the same for the same credentials, and others for others', () => {
    const redactorOf = createRedactors();
    expect(redactorOf([ROTATED, CRM])).toBe(redactorOf([ROTATED, CRM]));
    expect(redactorOf([ROTATED, SIGNING]).text('signing-canary crm-canary')).toBe(`${REDACTED} crm-canary`);
    expect(redactorOf([ROTATED]).text('signing-canary new-canary')).toBe(`signing-canary ${REDACTED}`);
    expect(redactorOf([]).text('new-canary')).toBe('new-canary');
  });
});
