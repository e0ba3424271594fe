import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { CLAIMED_LABEL, POOL_LABEL } from './names.ts';
import { issueCertificate } from './x509.ts';

type Labels = Record<string, string>;
export interface FakeObject {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    labels?: Labels;
    creationTimestamp: string;
  };
  /** Of a pod; `runner` if it says nothing. */
  serviceAccount?: string;
  [key: string]: unknown;
}

export interface FakeCluster {
  readonly host: string;
  readonly port: number;
  /** With `token` and `ca.crt`. */
  readonly folder: string;
  /** By path. */
  readonly objects: Map<string, FakeObject>;
  /** What was asked, in order. */
  readonly calls: string[];
  /** Whose each token is: the path of a pod. */
  readonly tokens: Map<string, string>;
  /** Answers the next calls of that method and path with this status. */
  readonly refusals: Map<string, number>;
  put(
    path: string,
    object: Record<string, unknown> & { readonly metadata?: { readonly labels?: Labels } },
  ): FakeObject;
  /** A runner's pod, and a token of it. */
  putRunner(
    namespace: string,
    name: string,
    more?: { readonly pool?: string; readonly memory?: string },
  ): string;
  close(): Promise<void>;
}

const TOKEN = 'the-workers-token';

/**
 * As much of an API server as a worker sees of one: objects with versions, JSON patches, preconditions, TokenReviews.
 *
 * @param folder gets what a worker's pod has mounted
 */
export async function startFakeCluster(folder: string): Promise<FakeCluster> {
  const objects = new Map<string, FakeObject>();
  const tokens = new Map<string, string>();
  const refusals = new Map<string, number>();
  const calls: string[] = [];
  let version = 0;
  const issued = issueCertificate('localhost', Date.now(), 3_600_000);
  await writeFile(join(folder, 'ca.crt'), issued.authority);
  await writeFile(join(folder, 'token'), `${TOKEN}\n`);

  const put: FakeCluster['put'] = (path, object) => {
    const before = objects.get(path);
    const stored = {
      ...object,
      metadata: {
        creationTimestamp: new Date().toISOString(),
        ...object.metadata,
        name: path.slice(path.lastIndexOf('/') + 1),
        uid: before?.metadata.uid ?? randomUUID(),
        resourceVersion: String(++version),
      },
    };
    objects.set(path, stored);
    return stored;
  };
  const answer = (method: string, url: URL, body: unknown): readonly [number, unknown] => {
    const path = url.pathname;
    const stored = objects.get(path);
    switch (method) {
      case 'GET':
        if (stored !== undefined) return [200, stored];
        return url.searchParams.has('labelSelector')
          ? [200, { items: listed(objects, path, url.searchParams.get('labelSelector')!) }]
          : [404, { message: `${path} not found` }];
      case 'PUT': {
        const { metadata } = body as FakeObject;
        if (stored === undefined) return [404, { message: 'not found' }];
        if (metadata.resourceVersion !== stored.metadata.resourceVersion)
          return [409, { message: 'conflict' }];
        return [200, put(path, body as FakeObject)];
      }
      case 'PATCH':
        return stored === undefined
          ? [404, { message: 'not found' }]
          : patched(stored, body as readonly Operation[]);
      case 'DELETE': {
        const { preconditions } = body as { readonly preconditions?: { readonly uid?: string } };
        if (stored === undefined) return [404, { message: 'not found' }];
        if (preconditions?.uid !== stored.metadata.uid) return [409, { message: 'another uid' }];
        objects.delete(path);
        return [200, stored];
      }
      case 'POST': {
        if (path.endsWith('/tokenreviews')) return [201, reviewed(body, objects, tokens)];
        const { generateName } = (body as { metadata: { generateName: string } }).metadata;
        return [201, put(`${path}/${generateName}${randomUUID().slice(0, 5)}`, body as FakeObject)];
      }
      default:
        return [405, { message: method }];
    }
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const url = new URL(request.url ?? '/', 'https://api');
    calls.push(`${request.method} ${url.pathname}`);
    const isKnown = request.headers.authorization === `Bearer ${TOKEN}`;
    const refusal = isKnown ? refusals.get(`${request.method} ${url.pathname}`) : 401;
    const [status, body] =
      refusal === undefined
        ? answer(request.method ?? '', url, text === '' ? undefined : JSON.parse(text))
        : [refusal, { message: 'refused by the test' }];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const server = createServer({ key: issued.key, cert: issued.certificate }, (request, response) => {
    void serve(request, response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    host: 'localhost',
    port: (server.address() as AddressInfo).port,
    folder,
    objects,
    calls,
    tokens,
    refusals,
    put,
    putRunner(namespace, name, { pool = 'javascript', memory = '256Mi' } = {}) {
      const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
      put(path, {
        metadata: { labels: { [POOL_LABEL]: pool } },
        spec: {
          runtimeClassName: 'gvisor',
          containers: [{ name: 'relay' }, { name: 'runner', resources: { limits: { cpu: '1', memory } } }],
        },
      });
      const token = `token-of-${name}`;
      tokens.set(token, path);
      return token;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

interface Operation {
  readonly op: 'test' | 'remove' | 'add';
  readonly path: string;
  readonly value?: string;
}

/** Of JSON patches (RFC 6902) what changes labels. */
function patched(stored: FakeObject, operations: readonly Operation[]): readonly [number, unknown] {
  const labels: Labels = { ...stored.metadata.labels };
  for (const { op, path, value } of operations) {
    const label = path.replace('/metadata/labels/', '').replace('~1', '/');
    if (op === 'test' && labels[label] !== value) return [422, { message: 'the test failed' }];
    if (op === 'remove') delete labels[label];
    if (op === 'add') labels[label] = value ?? '';
  }
  stored.metadata.labels = labels;
  return [200, stored];
}

const listed = (objects: FakeCluster['objects'], path: string, selector: string): readonly FakeObject[] =>
  [...objects].flatMap(([place, object]) => {
    const [label, value] = selector.split('=');
    const found = object.metadata.labels?.[label!];
    const isMatch =
      place.startsWith(`${path}/`) && found !== undefined && (value === undefined || found === value);
    return isMatch ? [object] : [];
  });

function reviewed(body: unknown, objects: FakeCluster['objects'], tokens: FakeCluster['tokens']): unknown {
  const { spec } = body as {
    readonly spec: { readonly token: string; readonly audiences: readonly string[] };
  };
  const path = tokens.get(spec.token);
  const pod = path === undefined ? undefined : objects.get(path);
  if (path === undefined || pod === undefined || !spec.audiences.includes('millrace-runner')) {
    return { status: { authenticated: false, error: 'token is not known' } };
  }
  const namespace = path.split('/')[4];
  return {
    status: {
      authenticated: true,
      audiences: ['millrace-runner'],
      user: {
        username: `system:serviceaccount:${namespace}:${pod.serviceAccount ?? 'runner'}`,
        extra: {
          'authentication.kubernetes.io/pod-name': [pod.metadata.name],
          'authentication.kubernetes.io/pod-uid': [pod.metadata.uid],
        },
      },
    },
  };
}

/** Where a pod's claim is written down. */
export const claimedBy = ({ metadata }: FakeObject): string | undefined => metadata.labels?.[CLAIMED_LABEL];
