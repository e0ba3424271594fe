import type { IncomingMessage, RequestListener } from 'node:http';
import { createRedactor } from '../../src/core/credentials/redact.ts';
import { parseHostPattern, sensitiveValuesOf, type Credential } from '../../src/core/credentials/types.ts';
import { parseAllowPrivate } from '../../src/core/egress/addresses.ts';
import { createEgressClient } from '../../src/core/egress/client.ts';
import type { EgressClient } from '../../src/core/egress/types.ts';
import { StepError } from '../../src/core/step-error.ts';
import {
  createBroker,
  type BrokerDeps,
  type Grant,
  type GrantOptions,
} from '../../src/worker/broker/broker.ts';
import type { BrokerLimits } from '../../src/worker/broker/limits.ts';
import type { BrokerRequest } from '../../src/worker/sandbox/types.ts';
import { closeServers } from './http-server.ts';

export const TOKEN = 'canary-token-0123456789';
export const MIB = 1_048_576;
/** The kernel's own buffers on loopback hold this much at most. */
export const KERNEL_BYTES = 16 * MIB;

const clients: EgressClient[] = [];
const grants: Grant[] = [];

/** Ends what a test has granted and started. */
export async function closeBroker(): Promise<void> {
  for (const grant of grants.splice(0)) grant.close();
  closeServers();
  await Promise.all(clients.splice(0).map((client) => client.close()));
}

export interface TestGrant extends Grant {
  readonly logs: readonly string[];
  readonly refusals: readonly string[];
}

export interface GrantSetup {
  /** As an author writes them. */
  readonly egress?: readonly string[];
  readonly credentials?: Readonly<Record<string, Credential | undefined>>;
  readonly limits?: Partial<BrokerLimits>;
  readonly options?: Partial<GrantOptions>;
  /** EGRESS_ALLOW_PRIVATE */
  readonly allow?: string;
  readonly lookup?: (name: string) => Promise<readonly string[]>;
}

export function makeGrant(setup: GrantSetup = {}): TestGrant {
  const egress = createEgressClient({
    allowPrivate: parseAllowPrivate(setup.allow ?? '127.0.0.0/8'),
    ...(setup.lookup === undefined ? {} : { lookup: setup.lookup, lookupTtlMs: 0 }),
  });
  clients.push(egress);
  const logs: string[] = [];
  const refusals: string[] = [];
  const deps: BrokerDeps = {
    egress,
    onRefusal: (reason) => refusals.push(reason),
    limits: setup.limits ?? {},
  };
  const credentials = new Map(Object.entries(setup.credentials ?? {}));
  const grant = createBroker(deps).grant({
    rules: (setup.egress ?? []).map((entry) => parseHostPattern(entry)!), // each of these can be read
    credentials,
    redactor: createRedactor(
      [...credentials.values()].flatMap((one) => (one === undefined ? [] : sensitiveValuesOf(one))),
    ),
    traceparent: undefined,
    signal: new AbortController().signal,
    timeoutMs: 10_000,
    log: (level, message) => logs.push(`${level} ${message}`),
    ...setup.options,
  });
  grants.push(grant);
  return { ...grant, logs, refusals };
}

export const ask = (target: string, more: Partial<BrokerRequest> = {}): BrokerRequest => ({
  target,
  method: 'GET',
  headers: [],
  body: undefined,
  redirect: 'follow',
  signal: new AbortController().signal,
  ...more,
});

export async function* chunksOf(...chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

export async function failure(promise: Promise<unknown>): Promise<StepError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (raw: unknown) => raw,
  );
  if (error instanceof StepError) return error;
  throw error;
}

export const bearer = (baseUrl: string, allowedHosts?: string[]): Credential => ({
  type: 'bearer',
  data: { token: TOKEN, baseUrl, allowedHosts },
});
export const redirecting =
  (location: (request: IncomingMessage) => string, status = 307): RequestListener =>
  (request, response) => {
    if (request.url?.startsWith('/end')) response.end('end');
    else response.writeHead(status, { location: location(request) }).end();
  };
