import { beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate } from '../../../src/worker/sandbox/kubernetes/x509.ts';
import type { ApiClient } from '../../support/platform.ts';
import type { Installation } from '../harness/installation.ts';
import { ask, sendRaw, served, type Front } from '../harness/ingress.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import type { Kit } from '../harness/kit.ts';

const API = 'api.staging.millrace.example';
const HOOKS = 'webhooks.staging.millrace.example';
const DAY_MS = 86_400_000;

const ECHO = (name: string): string => `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: echo, transform: '{"body": trigger.body, "headers": trigger.headers}' }
output: steps.echo.output
`;

/**
 * Requests that a proxy and a server may take for different things, each with one inside that the proxy never lets
 * through on this host (DESIGN section 7: the second host serves /hooks/ alone).
 */
const HIDDEN = `GET /api/v1/executions HTTP/1.1\r\nHost: ${HOOKS}\r\nX-Ignore: x`;
const start = (hook: string, ...headers: readonly string[]): string =>
  [`POST ${hook} HTTP/1.1`, `Host: ${HOOKS}`, 'Content-Type: application/json', ...headers, '', ''].join(
    '\r\n',
  );
const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const ATTACKS: readonly (readonly [what: string, text: (hook: string) => string])[] = [
  [
    'Content-Length and Transfer-Encoding, the first too long',
    (hook) =>
      start(hook, `Content-Length: ${HIDDEN.length + 9}`, 'Transfer-Encoding: chunked') +
      `0\r\n\r\n${HIDDEN}\r\n\r\n`,
  ],
  [
    'Content-Length and Transfer-Encoding, the first too short',
    (hook) => start(hook, 'Content-Length: 4', 'Transfer-Encoding: chunked') + `${chunk(HIDDEN)}0\r\n\r\n`,
  ],
  [
    'two lengths',
    (hook) =>
      start(hook, 'Content-Length: 2', `Content-Length: ${2 + HIDDEN.length}`) + `{}${HIDDEN}\r\n\r\n`,
  ],
  [
    'two encodings',
    (hook) =>
      start(hook, 'Content-Length: 4', 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity') +
      `${chunk(HIDDEN)}0\r\n\r\n`,
  ],
  ...[
    'Transfer-Encoding: xchunked',
    'Transfer-Encoding : chunked',
    'Transfer-Encoding:\tchunked',
    'Transfer-Encoding: chunked, identity',
    'Transfer-Encoding: \x0bchunked',
    ' Transfer-Encoding: chunked',
    'X: y\nTransfer-Encoding: chunked',
    'Transfer_Encoding: chunked',
    'Transfer-Encoding: "chunked"',
  ].map(
    (header) =>
      [
        `an encoding in disguise: ${JSON.stringify(header)}`,
        (hook: string) =>
          start(hook, `Content-Length: ${HIDDEN.length + 9}`, header) + `0\r\n\r\n${HIDDEN}\r\n\r\n`,
      ] as const,
  ),
  ['a length with a sign', (hook) => start(hook, 'Content-Length: +2') + `{}${HIDDEN}\r\n\r\n`],
  [
    'lines that end with LF alone',
    (hook) => start(hook, 'Transfer-Encoding: chunked').replaceAll('\r\n', '\n') + `0\n\n${HIDDEN}\r\n\r\n`,
  ],
  [
    'a chunk whose length is disguised',
    (hook) => start(hook, 'Transfer-Encoding: chunked') + `2;x="\n"\r\n{}\r\n0\n\r\n${HIDDEN}\r\n\r\n`,
  ],
  [
    'a body that a GET does not have',
    (hook) => start(hook, `Content-Length: ${HIDDEN.length}`).replace('POST', 'GET') + HIDDEN,
  ],
  [
    'an upgrade that nobody grants',
    (hook) =>
      start(
        hook,
        'Content-Length: 2',
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABk',
      ) + `{}${HIDDEN}\r\n\r\n`,
  ],
];

export interface Behind {
  readonly kubectl: Kubectl;
  readonly kit: () => Kit;
  readonly staging: () => Installation;
  readonly client: () => ApiClient;
}

/** Staging as the world sees it, behind an Ingress controller. */
export function describeIngress({ kubectl, kit, staging, client }: Behind): void {
  describe('behind an Ingress controller', () => {
    let front: Front;
    let hook: string;

    beforeAll(async () => {
      await kit().up(['traefik']);
      // In the place of cert-manager.
      const issued = [API, HOOKS].map((host) => ({ host, ...issueCertificate(host, Date.now(), DAY_MS) }));
      const { code, stderr } = await kubectl.apply(
        issued.map(({ host, certificate, key }) => ({
          apiVersion: 'v1',
          kind: 'Secret',
          type: 'kubernetes.io/tls',
          metadata: {
            name: host === API ? 'millrace-api-tls' : 'millrace-webhooks-tls',
            namespace: staging().namespace,
          },
          stringData: { 'tls.crt': certificate, 'tls.key': key },
        })),
      );
      if (code !== 0) throw new Error(stderr);
      const address = await kubectl.run([
        '--namespace',
        'traefik',
        'get',
        'service',
        'traefik',
        '--output',
        'jsonpath={.spec.clusterIP}',
      ]);
      front = { address, ca: issued.map(({ authority }) => authority) };
      for (const host of [API, HOOKS]) await served(front, host);
      ({ hook } = await client().deploy(ECHO('from-outside')));
    }, 1_500_000);

    const post = (body: unknown, headers: Readonly<Record<string, string>> = {}) =>
      ask(front, HOOKS, 'POST', hook, headers, JSON.stringify(body));
    const outputOf = async (text: string) => {
      const { executionId } = JSON.parse(text) as { readonly executionId: string };
      const execution = await client().finished(executionId, 30_000);
      expect(execution.state).toBe('succeeded');
      return execution.output as unknown as {
        readonly body: unknown;
        readonly headers: Readonly<Record<string, string>>;
      };
    };

    it('takes a webhook by TLS, with the certificate of its host', { timeout: 60_000 }, async () => {
      const reply = await post({ n: 1 });
      expect(reply.status, reply.text).toBe(202);
      expect((await outputOf(reply.text)).body).toEqual({ n: 1 });
    });

    it(
      'shows neither health nor metrics, and webhooks alone on their host',
      { timeout: 60_000 },
      async () => {
        for (const host of [API, HOOKS]) {
          for (const path of ['/metrics', '/health/live', '/health/ready', '/', '/hooks/../metrics']) {
            expect((await ask(front, host, 'GET', path)).status, host + path).toBe(404);
          }
        }
        expect((await ask(front, HOOKS, 'GET', '/api/v1/executions')).status).toBe(404);
        expect((await ask(front, HOOKS, 'GET', '/hooks/../api/v1/executions')).status).toBe(404);
        expect((await ask(front, HOOKS, 'GET', '/hooks/%2e%2e/api/v1/executions')).status).toBe(404);
        expect((await ask(front, API, 'POST', hook, {}, '{}')).status).toBe(404);
        expect((await ask(front, API, 'GET', '/api/v1/executions')).status).toBe(401);
      },
    );

    it('believes no sender who says that it is somebody else', { timeout: 60_000 }, async () => {
      const forged = {
        'x-forwarded-for': '203.0.113.7',
        'x-forwarded-host': 'bank.example',
        'x-forwarded-proto': 'http',
        'x-real-ip': '203.0.113.7',
      };
      const { headers } = await outputOf((await post({ n: 2 }, forged)).text);
      expect(headers['x-forwarded-host']).toBe(HOOKS);
      expect(headers['x-forwarded-proto']).toBe('https');
      expect(JSON.stringify(headers)).not.toContain('203.0.113.7');
    });

    it.each(ATTACKS)('lets nothing be smuggled in: %s', { timeout: 60_000 }, async (_, attack) => {
      const text = await sendRaw(front, HOOKS, [attack(hook)]);
      // The API would ask whoever gets through to it for a key.
      expect(text).not.toMatch(/HTTP\/1\.1 401|unauthorized/i);
      // A connection to the API that was left in the middle of something would answer the next one wrongly.
      const marks = [1, 2, 3, 4];
      const replies = await Promise.all(marks.map((mark) => post({ mark })));
      expect(replies.map(({ status }) => status)).toEqual([202, 202, 202, 202]);
      const outputs = await Promise.all(replies.map((reply) => outputOf(reply.text)));
      expect(outputs.map(({ body }) => body)).toEqual(marks.map((mark) => ({ mark })));
    });
  });
}
