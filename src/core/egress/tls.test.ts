import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllowPrivate } from './addresses.ts';
import { createEgressClient } from './client.ts';

// Made for this test only: DNS:api.example.test and IP:127.0.0.1, valid for a hundred years.
// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
//   -subj "/CN=millrace test" -addext "subjectAltName=DNS:api.example.test,IP:127.0.0.1"
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWwp6Be7a6Ggthe34
VfaEi4g2OrVXAImANf/KqQ5fcJihRANCAARandeMymCQ5DNJTjRVLLGwmFNe8KT7
XUj59xEzxGXxdCT0BdkGXtm+yfSU5BWPxOl1TorN3AQog9jq+obOKV6W
-----END PRIVATE KEY-----`;
const cert = `-----BEGIN CERTIFICATE-----
MIIBqTCCAVCgAwIBAgIUd4m/MMl82o+xZayBgqnywmwYkYswCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNbWlsbHJhY2UgdGVzdDAgFw0yNjExMjEwODMzNDBaGA8yMTI2
MTAyODA4MzM0MFowGDEWMBQGA1UEAwwNbWlsbHJhY2UgdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABFqd14zKYJDkM0lONFUssbCYU17wpPtdSPn3ETPEZfF0
JPQF2QZe2b7J9JTkFY/E6XVOis3cBCiD2Or6hs4pXpajdjB0MB0GA1UdDgQWBBT+
pfrVtcyPjp4VnLIMuTvRDOuaODAfBgNVHSMEGDAWgBT+pfrVtcyPjp4VnLIMuTvR
DOuaODAhBgNVHREEGjAYghBhcGkuZXhhbXBsZS50ZXN0hwR/AAABMA8GA1UdEwEB
/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgVu2GWZ/OmECty4WpZf/mY031f4cJ
F9ETxsl42j7meKkCIFADF5aPHlY54FWFlBF1drlXnbXBAY5SvYfM3jm3BGpT
-----END CERTIFICATE-----`;

const trusted = tls.getCACertificates('default');
const seen: {
  servername: string | false | undefined;
  host: string | undefined;
  alpn: string | false | null;
}[] = [];
const server = createServer({ key, cert, ALPNProtocols: ['h2', 'http/1.1'] }, (request, response) => {
  const socket = request.socket as tls.TLSSocket & { servername?: string | false }; // an https server has no other
  seen.push({ servername: socket.servername, host: request.headers.host, alpn: socket.alpnProtocol });
  if (request.url === '/down')
    response.writeHead(302, { location: `http://api.example.test:${port()}/` }).end();
  else response.end('ok');
});
const port = (): number => (server.address() as AddressInfo).port; // it listens on TCP
const client = createEgressClient({
  allowPrivate: parseAllowPrivate('127.0.0.0/8'),
  lookup: async () => ['127.0.0.1'],
});
const get = (host: string, path = '/') =>
  client.request({
    method: 'GET',
    url: `https://${host}:${port()}${path}`,
    timeoutMs: 5000,
    maxResponseBytes: 1000,
  });

beforeAll(async () => {
  tls.setDefaultCACertificates([...trusted, cert]);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

afterAll(async () => {
  await client.close();
  server.closeAllConnections();
  server.close();
  tls.setDefaultCACertificates(trusted);
});

test('a checked address is asked for the name that was meant, in SNI and Host, over HTTP/1.1', async () => {
  expect((await get('api.example.test')).status).toBe(200);
  expect((await get('API.example.test.')).status).toBe(200);
  const expected = { servername: 'api.example.test', host: `api.example.test:${port()}`, alpn: 'http/1.1' };
  expect(seen.splice(0)).toEqual([expected, expected]);
});

test('an address is asked without a name, and the certificate has to name the address', async () => {
  expect((await get('127.0.0.1')).status).toBe(200);
  expect(seen.splice(0)).toEqual([{ servername: false, host: `127.0.0.1:${port()}`, alpn: 'http/1.1' }]);
});

test('a certificate for another name fails the connection', async () => {
  await expect(get('other.example.test')).rejects.toMatchObject({
    code: 'connect_failed',
    retryable: true,
    message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
  });
  expect(seen).toEqual([]);
});

test('a redirect from https to http is denied', async () => {
  await expect(get('api.example.test', '/down')).rejects.toMatchObject({
    code: 'redirect_denied',
    retryable: false,
  });
  expect(seen.splice(0)).toHaveLength(1);
});
