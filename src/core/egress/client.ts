import { retryableError, StepError, terminalError } from '../step-error.ts';
import { networkOf, type AllowPrivateEntry } from './addresses.ts';
import { startDeadline, type Deadline } from './deadline.ts';
import { ACCEPT_ENCODING, codingsOf, decodeBody } from './decode.ts';
import {
  checkUrl,
  checkUrlRules,
  createDestinations,
  systemLookup,
  type Destination,
  type Lookup,
} from './destination.ts';
import { exchange, type ExchangeResponse } from './exchange.ts';
import { createPools, type Pools } from './pools.ts';
import { isRedirect, nextHop, type Hop } from './redirect.ts';
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
  /** Default 64; further requests to the same origin wait. */
  readonly connectionsPerOrigin?: number;
}

/** What a credential adds to one hop. */
export interface HopAuthorization {
  readonly headers?: Record<string, string>;
  readonly query?: Record<string, string>;
}

export interface EgressRequest {
  readonly method: string;
  /** Absolute, http or https. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
  readonly signal?: AbortSignal;
  /** For everything: look-ups, redirects, the whole body. */
  readonly timeoutMs: number;
  /** Of the body after decompression. */
  readonly maxResponseBytes: number;
  /**
   * Asked for every hop, so that a credential reaches only the origins it was given for. What it adds is not carried
   * on to the next hop, and its query parameters do not appear in `EgressResponse.url`.
   */
  readonly authorize?: (url: URL) => HopAuthorization | undefined;
  /** Default true. */
  readonly followRedirects?: boolean;
}

export interface EgressResponse {
  readonly status: number;
  /**
   * By lower-case name; repeated ones joined by `, `. `content-encoding` and `content-length` are left out where the
   * body was decompressed, since they no longer describe it.
   */
  readonly headers: Record<string, string>;
  /** Decompressed. */
  readonly body: Buffer;
  /** Where the response came from, after redirects. */
  readonly url: string;
  /** Redirects that were followed. */
  readonly hops: number;
  readonly timings: {
    /** Finding and checking addresses, of all hops. */
    readonly lookupMs: number;
    /** From the start to the headers of the last response. */
    readonly firstByteMs: number;
    readonly totalMs: number;
  };
}

export interface EgressClient {
  /**
   * Sends a request to a public address, or one that `allowPrivate` names.
   *
   * @throws StepError terminal `egress_denied`, `redirect_denied`, `response_too_large`, `invalid_input`,
   *   `cancelled`; retryable `dns_failed`, `connect_failed`, `timeout`
   */
  request(request: EgressRequest): Promise<EgressResponse>;
  /** Refuses further requests and waits for those in flight. */
  close(): Promise<void>;
}

interface Deps {
  readonly find: (url: URL) => Promise<Destination>;
  readonly pools: Pools;
  readonly maxRedirects: number;
  readonly connectTimeoutMs: number;
  readonly userAgent: string;
}

/** The one way out of the platform (SECURITY section 4). */
export function createEgressClient(options: EgressClientOptions): EgressClient {
  const connectTimeoutMs = options.connectTimeoutMs ?? 10_000;
  const deps: Deps = {
    find: createDestinations({
      allowPrivate: options.allowPrivate,
      ownNetworks: (options.ownNetworks ?? []).map(networkOf),
      lookup: options.lookup ?? systemLookup,
      lookupTtlMs: options.lookupTtlMs ?? 2000,
    }),
    pools: createPools({ connectTimeoutMs, connectionsPerOrigin: options.connectionsPerOrigin ?? 64 }),
    maxRedirects: options.maxRedirects ?? 5,
    connectTimeoutMs,
    userAgent: options.userAgent ?? 'millrace',
  };
  let closed: Promise<void> | undefined;

  return {
    request: async (request) => {
      if (closed !== undefined) throw retryableError('connect_failed', 'This process is stopping');
      const first = firstHop(deps, request);
      const deadline = startDeadline(request.timeoutMs, request.signal);
      try {
        return await follow(deps, request, first, deadline);
      } finally {
        deadline.dispose();
      }
    },
    close: () => (closed ??= deps.pools.close()),
  };
}

function firstHop(deps: Deps, request: EgressRequest): Hop {
  const method = checkMethod(request.method);
  const headers = checkHeaders(request.headers ?? {});
  if (!headers.has('user-agent')) headers.set('user-agent', deps.userAgent);
  if (!headers.has('accept')) headers.set('accept', '*/*');
  if (!headers.has('accept-encoding')) headers.set('accept-encoding', ACCEPT_ENCODING);
  const body = typeof request.body === 'string' ? Buffer.from(request.body) : request.body;
  return { url: checkUrl(request.url), method, headers, body };
}

async function follow(
  deps: Deps,
  request: EgressRequest,
  first: Hop,
  deadline: Deadline,
): Promise<EgressResponse> {
  const startedAt = performance.now();
  let lookupMs = 0;
  let hop = first;
  for (let hops = 0; ; hops++) {
    const hopStartedAt = performance.now();
    const destination = await deadline.race(findFor(deps, hop, hops));
    lookupMs += performance.now() - hopStartedAt;
    const response = await send(deps, request, hop, destination, deadline);
    const { location } = response.headers;
    if (
      request.followRedirects !== false &&
      location !== undefined &&
      isRedirect(response.status, location)
    ) {
      if (hops >= deps.maxRedirects) {
        throw terminalError(
          'redirect_denied',
          `${first.url.host} led to more than ${deps.maxRedirects} redirects`,
        );
      }
      hop = nextHop(hop, response.status, location);
      continue;
    }
    const { headers, body } = await decoded(request, hop, destination, response, deadline);
    return {
      status: response.status,
      headers,
      body,
      url: withoutFragment(hop.url),
      hops,
      timings: {
        lookupMs,
        firstByteMs: response.firstByteAt - startedAt,
        totalMs: performance.now() - startedAt,
      },
    };
  }
}

/** Checks a hop's URL and addresses; what is denied after a redirect is a denied redirect. */
async function findFor(deps: Deps, hop: Hop, hops: number): Promise<Destination> {
  try {
    checkUrlRules(hop.url);
    return await deps.find(hop.url);
  } catch (error) {
    if (hops === 0 || !(error instanceof StepError) || error.code !== 'egress_denied') throw error;
    throw terminalError('redirect_denied', `A redirect was not followed: ${error.message}`, error);
  }
}

function send(
  deps: Deps,
  request: EgressRequest,
  hop: Hop,
  destination: Destination,
  deadline: Deadline,
): Promise<ExchangeResponse> {
  const authorization = request.authorize?.(hop.url);
  const headers = new Map([...hop.headers, ...checkHeaders(authorization?.headers ?? {})]);
  return exchange(
    deps.pools.for(destination),
    {
      method: hop.method,
      path: pathOf(hop.url, authorization?.query),
      headers,
      body: hop.body,
      label: destination.label,
      maxResponseBytes: request.maxResponseBytes,
      connectTimeoutMs: deps.connectTimeoutMs,
      isBodyIgnored: (status, { location }) =>
        request.followRedirects !== false && isRedirect(status, location),
    },
    deadline,
  );
}

/** Appended as text: setting it through `searchParams` would re-spell the caller's own query. */
function pathOf(url: URL, query: Readonly<Record<string, string>> | undefined): string {
  if (query === undefined) return url.pathname + url.search;
  return `${url.pathname}${url.search === '' ? '?' : `${url.search}&`}${new URLSearchParams(query).toString()}`;
}

async function decoded(
  request: EgressRequest,
  hop: Hop,
  destination: Destination,
  response: ExchangeResponse,
  deadline: Deadline,
): Promise<{ readonly headers: Record<string, string>; readonly body: Buffer }> {
  const { headers, body } = response;
  const codings = codingsOf(headers['content-encoding']);
  if (codings === undefined || codings.length === 0 || body.length === 0) return { headers, body };
  const plain = await deadline.race(decodeBody(body, codings, request.maxResponseBytes, destination.label));
  const { 'content-encoding': _encoding, 'content-length': _length, ...rest } = headers;
  return { headers: rest, body: plain };
}

function withoutFragment(url: URL): string {
  if (url.hash === '') return url.href;
  const copy = new URL(url);
  copy.hash = '';
  return copy.href;
}
