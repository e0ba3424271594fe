import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { expect, test } from 'vitest';
import { issueCertificate } from './x509.ts';

const NAME = 'gateway.millrace.internal';
const DAY_MS = 86_400_000;

test('the certificate is for the server alone, by an authority that signed nothing else', () => {
  const nowMs = Date.parse('2026-11-21T12:00:00Z');
  const issued = issueCertificate(NAME, nowMs, 90 * DAY_MS);
  const authority = new X509Certificate(issued.authority);
  const certificate = new X509Certificate(issued.certificate);
  expect(authority.ca).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.checkHost(NAME)).toBe(NAME);
  expect(certificate.checkHost('gateway.example')).toBeUndefined();
  expect(certificate.checkIssued(authority)).toBe(true);
  expect(certificate.verify(authority.publicKey)).toBe(true);
  expect(authority.verify(authority.publicKey)).toBe(true);
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  expect(certificate.validFromDate.toISOString()).toBe('2026-11-21T11:00:00.000Z');
  expect(certificate.validToDate.toISOString()).toBe('2027-02-19T12:00:00.000Z');
});

test('dates from 2050 on are written in the long form', () => {
  const issued = issueCertificate(NAME, Date.parse('2049-12-31T00:00:00Z'), 2 * DAY_MS);
  expect(new X509Certificate(issued.certificate).validToDate.toISOString()).toBe('2050-01-02T00:00:00.000Z');
});

test('a handshake succeeds with its authority, and fails with another of the same make', async () => {
  const issued = issueCertificate(NAME, Date.now(), DAY_MS);
  const other = issueCertificate(NAME, Date.now(), DAY_MS);
  const server = tls.createServer({ key: issued.key, cert: issued.certificate }, (socket) => {
    socket.on('error', () => undefined);
    socket.end('hello');
  });
  server.on('tlsClientError', () => undefined);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const connect = async (ca: string): Promise<string> => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: NAME, ca });
    try {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      return chunk.toString();
    } finally {
      socket.destroy();
    }
  };
  expect(await connect(issued.authority)).toBe('hello');
  expect(await connect(other.authority + issued.authority)).toBe('hello');
  await expect(connect(other.authority)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  server.close();
});
