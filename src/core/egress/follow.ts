import { StepError, terminalError } from '../step-error.ts';
import type { Deadline } from './deadline.ts';
import { responseTooLarge, type BodyLimit } from './decode.ts';
import { checkUrlRules, type Destination } from './destination.ts';
import { exchange, type ExchangeResponse } from './exchange.ts';
import type { Pools } from './pools.ts';
import { isRedirect, nextHop, type Hop } from './redirect.ts';
import { checkHeaders } from './request-rules.ts';
import type { EgressRequest } from './types.ts';

export interface FollowDeps {
  readonly find: (url: URL) => Promise<Destination>;
  readonly pools: Pools;
  readonly maxRedirects: number;
  readonly connectTimeoutMs: number;
}

/** The last response of a chain of redirects, whose body is still to come. */
export interface Arrival {
  readonly hop: Hop;
  /** Redirects that were followed. */
  readonly hops: number;
  readonly response: ExchangeResponse;
  /** What its body is held to. */
  readonly limit: BodyLimit;
  readonly startedAt: number;
  /** Finding and checking addresses, of all hops. */
  readonly lookupMs: number;
}

/**
 * Sends a request and follows its redirects, each checked like the first.
 *
 * @param onOver called when the last response's body has ended, or will never come
 */
export async function follow(
  deps: FollowDeps,
  request: EgressRequest,
  first: Hop,
  deadline: Deadline,
  onOver?: () => void,
): Promise<Arrival> {
  const startedAt = performance.now();
  let lookupMs = 0;
  let hop = first;
  for (let hops = 0; ; hops++) {
    const hopStartedAt = performance.now();
    const destination = await deadline.race(findFor(deps, request, hop, hops));
    lookupMs += performance.now() - hopStartedAt;
    const limit = limitOf(request, destination);
    let isLast = true;
    const response = await send(deps, request, hop, destination, limit, deadline, {
      isBodyIgnored: (status, { location }) => {
        isLast = request.redirect === 'manual' || !isRedirect(status, location);
        return !isLast;
      },
      onOver: () => {
        if (isLast) onOver?.();
      },
    });
    if (isLast) return { hop, hops, response, limit, startedAt, lookupMs };
    const location = response.headers['location'] ?? ''; // a redirect has one
    if (request.redirect === 'error') {
      throw terminalError(
        'redirect_denied',
        `${hop.url.host} answered with a redirect (${response.status}), and the request was to follow none`,
      );
    }
    if (hops >= deps.maxRedirects) {
      throw terminalError(
        'redirect_denied',
        `${first.url.host} led to more than ${deps.maxRedirects} redirects`,
      );
    }
    hop = nextHop(hop, response.status, location);
  }
}

function limitOf({ maxResponseBytes, tooLarge }: EgressRequest, { label }: Destination): BodyLimit {
  return {
    label,
    maxBytes: maxResponseBytes,
    tooLarge: () => (tooLarge ?? responseTooLarge)(label, maxResponseBytes),
  };
}

/** Checks a hop's URL and addresses; what is denied after a redirect is a denied redirect. */
async function findFor(
  deps: FollowDeps,
  request: EgressRequest,
  hop: Hop,
  hops: number,
): Promise<Destination> {
  try {
    checkUrlRules(hop.url);
    request.permit?.(hop.url);
    return await deps.find(hop.url);
  } catch (error) {
    if (hops === 0 || !(error instanceof StepError) || error.code !== 'egress_denied') throw error;
    throw terminalError('redirect_denied', `A redirect was not followed: ${error.message}`, error);
  }
}

interface Watch {
  readonly isBodyIgnored: (status: number, headers: Readonly<Record<string, string>>) => boolean;
  readonly onOver: () => void;
}

function send(
  deps: FollowDeps,
  request: EgressRequest,
  hop: Hop,
  destination: Destination,
  { maxBytes, tooLarge }: BodyLimit,
  deadline: Deadline,
  { isBodyIgnored, onOver }: Watch,
): Promise<ExchangeResponse> {
  const authorization = request.authorize?.(hop.url);
  const headers =
    authorization?.headers === undefined
      ? hop.headers
      : new Map([...hop.headers, ...checkHeaders(authorization.headers)]);
  return exchange(
    deps.pools.for(destination),
    {
      method: hop.method,
      path: pathOf(hop.url, authorization?.query),
      headers,
      body: hop.body,
      label: destination.label,
      maxResponseBytes: maxBytes,
      tooLarge,
      connectTimeoutMs: deps.connectTimeoutMs,
      isBodyIgnored,
    },
    deadline,
    onOver,
  );
}

/** Appended as text: setting it through `searchParams` would re-spell the caller's own query. */
function pathOf(url: URL, query: Readonly<Record<string, string>> | undefined): string {
  if (query === undefined) return url.pathname + url.search;
  return `${url.pathname}${url.search === '' ? '?' : `${url.search}&`}${new URLSearchParams(query).toString()}`;
}
