import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { watchCertificates } from '../../../src/core/telemetry/certificates.ts';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import { issueCertificate } from '../../../src/worker/sandbox/kubernetes/x509.ts';
import { freePort } from '../../support/free-port.ts';
import { waitFor } from '../../support/wait-for.ts';

const DAY_MS = 86_400_000;
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A TLS server whose certificate was made for so long. */
async function serve(validMs: number, nowMs = Date.now()): Promise<string> {
  const { key, certificate } = issueCertificate('localhost', nowMs, validMs);
  const server: Server = createServer({ key, cert: certificate }, (socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on TCP
}

const NAME = 'millrace_certificate_expiry_timestamp_seconds';
function watch(publicUrl: string, publicHooksUrl = publicUrl) {
  const metrics = createMetrics();
  const errors: Error[] = [];
  const onError = (error: Error): void => void errors.push(error);
  closers.push(watchCertificates({ publicUrl, publicHooksUrl, metrics, onError }));
  const end = async (name = 'public_url'): Promise<number | undefined> => {
    const { body } = await metrics.registry.page(undefined);
    const found = new RegExp(`^${NAME}\\{name="${name}"\\} (\\S+)$`, 'm').exec(body);
    return found === null ? undefined : Number(found[1]) * 1000;
  };
  return { end, errors };
}

describe('the certificate of PUBLIC_URL', () => {
  it.each([
    ['ends in ten days', 10 * DAY_MS, Date.now()],
    ['has ended', DAY_MS, Date.now() - 5 * DAY_MS],
  ])('is looked at though nobody trusts it: one that %s', async (_, validMs, nowMs) => {
    const { end } = watch(await serve(validMs, nowMs));
    const endMs = await waitFor(end, { timeoutMs: 30_000, what: 'the metric' });
    expect(Math.abs(endMs - (nowMs + validMs))).toBeLessThan(2000);
  });

  it('has no sample without TLS, or while nobody answers', async () => {
    const plain = watch('http://127.0.0.1:1');
    const nobody = watch(`https://127.0.0.1:${await freePort()}`);
    await waitFor(() => nobody.errors.length > 0, { timeoutMs: 30_000, what: 'an error' });
    expect([await plain.end(), await nobody.end(), plain.errors]).toEqual([undefined, undefined, []]);
  });
});

describe('the certificate of PUBLIC_HOOKS_URL', () => {
  it('is looked at beside the other, as another server has it', async () => {
    const { end } = watch(await serve(10 * DAY_MS), await serve(20 * DAY_MS));
    const [url, hooks] = await Promise.all(
      ['public_url', 'public_hooks_url'].map((name) =>
        waitFor(() => end(name), { timeoutMs: 30_000, what: name }),
      ),
    );
    expect(hooks! - url!).toBeGreaterThan(9 * DAY_MS);
  });

  it('is the same, and shown once, where one server has both', async () => {
    const url = await serve(10 * DAY_MS);
    const { end, errors } = watch(`${url}/api`, `${url}/hooks`);
    await waitFor(end, { timeoutMs: 30_000, what: 'the metric' });
    expect([await end('public_hooks_url'), errors]).toEqual([undefined, []]);
  });
});
