import { retryableError } from '../step-error.ts';
import { networkOf, type AllowPrivateEntry } from './addresses.ts';
import { startDeadline, type Deadline } from './deadline.ts';
import { ACCEPT_ENCODING, codingsOf, decodeBody, decodeStream } from './decode.ts';
import { checkUrl, createDestinations, systemLookup, type Lookup } from './destination.ts';
import type { RawHeaders } from './exchange.ts';
import { follow, type Arrival, type FollowDeps } from './follow.ts';
import { createPools } from './pools.ts';
import type { Hop } from './redirect.ts';
import type { EgressClient, EgressRequest, EgressResponse, EgressStream } from './types.ts';
import { checkHeaders, checkMethod } from './request-rules.ts';

export interface EgressClientOptions {
  /** The only private addresses that may be reached; from `parseAllowPrivate`. */
  readonly allowPrivate: readonly AllowPrivateEntry[];
  /** Addresses or CIDR where the platform itself listens, denied although they may be public. */
  readonly ownNetworks?: readonly string[];
  /** For tests; default the operating system's resolver. */
  readonly lookup?: Lookup;
  /** Default 2000: how long a host's checked addresses are used without asking again. */
  readonly lookupTtlMs?: number;
  /** Default 5. */
  readonly maxRedirects?: number;
  /** Default `millrace`. */
  readonly userAgent?: string;
  /** Default 10 000. */
  readonly connectTimeoutMs?: number;
  /** Default 512; further requests to the same origin wait. */
  readonly connectionsPerOrigin?: number;
}

/** As many executions may wait for one slow service. */
const DEFAULT_CONNECTIONS_PER_ORIGIN = 512;

/** The one way out of the platform (SECURITY section 4). */
export function createEgressClient(options: EgressClientOptions): EgressClient {
  const connectTimeoutMs = options.connectTimeoutMs ?? 10_000;
  const deps: FollowDeps & { readonly userAgent: string } = {
    find: createDestinations({
      allowPrivate: options.allowPrivate,
      ownNetworks: (options.ownNetworks ?? []).map(networkOf),
      lookup: options.lookup ?? systemLookup,
      lookupTtlMs: options.lookupTtlMs ?? 2000,
    }),
    pools: createPools({
      connectTimeoutMs,
      connectionsPerOrigin: options.connectionsPerOrigin ?? DEFAULT_CONNECTIONS_PER_ORIGIN,
    }),
    maxRedirects: options.maxRedirects ?? 5,
    connectTimeoutMs,
    userAgent: options.userAgent ?? 'millrace',
  };
  let closed: Promise<void> | undefined;
  const begin = (request: EgressRequest): { first: Hop; deadline: Deadline } => {
    if (closed !== undefined) throw retryableError('connect_failed', 'This process is stopping');
    return {
      first: firstHop(deps.userAgent, request),
      deadline: startDeadline(request.timeoutMs, request.signal),
    };
  };

  return {
    request: async (request) => {
      const { first, deadline } = begin(request);
      try {
        return await readWhole(await follow(deps, request, first, deadline), deadline);
      } finally {
        deadline.dispose();
      }
    },
    stream: async (request) => {
      const { first, deadline } = begin(request);
      try {
        return readPieces(await follow(deps, request, first, deadline, () => deadline.dispose()));
      } catch (error) {
        deadline.dispose();
        throw error;
      }
    },
    close: () => (closed ??= deps.pools.close()),
  };
}

function firstHop(userAgent: string, request: EgressRequest): Hop {
  const method = checkMethod(request.method);
  const headers = checkHeaders(request.headers ?? {});
  if (!headers.has('user-agent')) headers.set('user-agent', userAgent);
  if (!headers.has('accept')) headers.set('accept', '*/*');
  if (!headers.has('accept-encoding')) headers.set('accept-encoding', ACCEPT_ENCODING);
  const body = typeof request.body === 'string' ? Buffer.from(request.body) : request.body;
  return { url: checkUrl(request.url), method, headers, body };
}

async function readWhole(arrival: Arrival, deadline: Deadline): Promise<EgressResponse> {
  const { response, limit, hop, startedAt } = arrival;
  let body = await response.body.whole();
  let { headers } = response;
  const codings = codingsOf(headers['content-encoding']);
  if (codings !== undefined && codings.length > 0 && body.length > 0) {
    body = await deadline.race(decodeBody(body, codings, limit));
    const { 'content-encoding': _encoding, 'content-length': _length, ...rest } = headers;
    headers = rest;
  }
  return {
    status: response.status,
    headers,
    body,
    url: withoutFragment(hop.url),
    hops: arrival.hops,
    timings: {
      lookupMs: arrival.lookupMs,
      firstByteMs: response.firstByteAt - startedAt,
      totalMs: performance.now() - startedAt,
    },
  };
}

function readPieces(arrival: Arrival): EgressStream {
  const { response, hop, hops, limit } = arrival;
  const raw = response.body.read();
  const hasBody = hop.method !== 'HEAD' && response.status !== 204 && response.status !== 304;
  const codings = (hasBody ? codingsOf(response.headers['content-encoding']) : undefined) ?? [];
  let pieces: AsyncIterator<Buffer, undefined>;
  try {
    pieces = decodeStream(raw, codings, limit);
  } catch (error) {
    response.body.drop();
    throw error;
  }
  const cancel = (): void => {
    // The connection first: a decoder that waits for it would not hear.
    response.body.drop();
    pieces.return?.().catch(() => {});
  };
  const body: AsyncIterableIterator<Buffer, undefined> = {
    next: () => pieces.next(),
    return: () => {
      cancel();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => body,
  };
  return {
    status: response.status,
    headers: headerPairs(response.rawHeaders, codings.length > 0),
    url: withoutFragment(hop.url),
    hops,
    body,
    cancel,
  };
}

function headerPairs(raw: RawHeaders, isDecoded: boolean): readonly (readonly [string, string])[] {
  const pairs: (readonly [string, string])[] = [];
  for (const [name, value] of Object.entries(raw)) {
    if (isDecoded && (name === 'content-encoding' || name === 'content-length')) continue;
    if (typeof value === 'string') pairs.push([name, value]);
    else for (const single of value ?? []) pairs.push([name, single]);
  }
  return pairs;
}

function withoutFragment(url: URL): string {
  if (url.hash === '') return url.href;
  const copy = new URL(url);
  copy.hash = '';
  return copy.href;
}
