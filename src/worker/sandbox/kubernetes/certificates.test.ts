import { expect, test } from 'vitest';
import { planCertificates, trustedAuthorities, VALID_MS, type Certificates } from './certificates.ts';

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

function issuer() {
  let count = 0;
  return () => {
    count++;
    return { authority: `ca${count};`, certificate: `cert${count}`, key: `key${count}` };
  };
}

test('the first is used at once', () => {
  const planned = planCertificates(undefined, 1000, issuer());
  expect(planned).toEqual({
    current: { authority: 'ca1;', certificate: 'cert1', key: 'key1', validToMs: 1000 + VALID_MS },
  });
  expect(planCertificates(planned, 1000 + 59 * DAY_MS, issuer())).toBe(planned);
});

test('the next is announced a month before, and used when every runner trusts it', () => {
  const issue = issuer();
  const first = planCertificates(undefined, 0, issue);
  const dueMs = 60 * DAY_MS;
  const announced = planCertificates(first, dueMs, issue);
  expect(announced.current).toEqual(first.current);
  expect(announced.next).toMatchObject({ certificate: 'cert2', announcedAtMs: dueMs });
  expect(trustedAuthorities(announced)).toBe('ca1;ca2;');
  expect(planCertificates(announced, dueMs + 14 * MINUTE_MS, issue)).toBe(announced);

  const used = planCertificates(announced, dueMs + 15 * MINUTE_MS, issue);
  expect(used.current).toEqual({
    authority: 'ca2;',
    certificate: 'cert2',
    key: 'key2',
    validToMs: dueMs + VALID_MS,
  });
  expect(trustedAuthorities(used)).toBe('ca2;ca1;');
  expect(planCertificates(used, dueMs + DAY_MS, issue)).toBe(used);
});

test('through years, what is in use is valid and was trusted for a quarter of an hour', () => {
  const issue = issuer();
  let stored: Certificates | undefined;
  let leastLeftMs = Infinity;
  let leastTrustedMs = Infinity;
  const trustedSince = new Map<string, number>();
  for (let nowMs = 0; nowMs < 1000 * DAY_MS; nowMs += 5 * MINUTE_MS) {
    stored = planCertificates(stored, nowMs, issue);
    for (const authority of trustedAuthorities(stored).split(/(?<=;)/)) {
      if (!trustedSince.has(authority)) trustedSince.set(authority, nowMs);
    }
    const { authority, validToMs } = stored.current;
    leastLeftMs = Math.min(leastLeftMs, validToMs - nowMs);
    if (authority !== 'ca1;') {
      leastTrustedMs = Math.min(leastTrustedMs, nowMs - trustedSince.get(authority)!);
    }
  }
  expect(leastLeftMs).toBeGreaterThan(29 * DAY_MS);
  expect(leastTrustedMs).toBe(15 * MINUTE_MS);
  expect(trustedSince.size).toBe(17);
});

test('after a time without workers that outlasts it, another is used at once', () => {
  const issue = issuer();
  const first = planCertificates(undefined, 0, issue);
  expect(planCertificates(first, VALID_MS, issue).current.certificate).toBe('cert2');
});
