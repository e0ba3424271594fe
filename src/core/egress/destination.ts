import { lookup as resolve } from 'node:dns/promises';
import { isIP } from 'node:net';
import { createLoadingCache } from '../cache.ts';
import { errorCodeOf } from '../errors/app-error.ts';
import { retryableError, terminalError } from '../step-error.ts';
import {
  hostOf,
  isAllowedPrivate,
  isDeniedAddress,
  normalizeAddress,
  type AllowPrivateEntry,
  type Network,
} from './addresses.ts';

/** All addresses of a host name, in the order to try them. Rejects when there are none. */
export type Lookup = (hostname: string) => Promise<readonly string[]>;

/** The operating system's resolver, hosts file included. */
export const systemLookup: Lookup = async (hostname) =>
  (await resolve(hostname, { all: true })).map(({ address }) => address);

/** Where a request may go: a host whose every address was checked. */
export interface Destination {
  /** Scheme, host without a trailing dot, port: what Host and SNI are made of. */
  readonly origin: string;
  /** Host and port, for messages. */
  readonly label: string;
  /** The checked addresses, each in its one spelling; nothing else may be connected to. */
  readonly addresses: readonly string[];
  /** Same key, same origin and same checked addresses: only such requests share connections. */
  readonly poolKey: string;
}

export interface DestinationOptions {
  readonly allowPrivate: readonly AllowPrivateEntry[];
  readonly ownNetworks: readonly Network[];
  readonly lookup: Lookup;
  /** How long a host's checked addresses are used without asking again. */
  readonly lookupTtlMs: number;
}

const MAX_REMEMBERED_HOSTS = 1000;

/**
 * An absolute http or https URL without userinfo.
 *
 * @throws StepError `invalid_input` for what is no URL, `egress_denied` for one that breaks a rule
 */
export function checkUrl(text: string): URL {
  // oxlint-disable-next-line no-control-regex -- WHATWG URL would silently drop them
  if (/[\x00-\x1f\x7f]/.test(text)) {
    throw terminalError(
      'invalid_input',
      'The URL holds a line break or another control character; was it written as a YAML block?',
    );
  }
  const url = URL.parse(text);
  if (url === null) {
    const shown = text.split(/[?#]/, 1)[0]?.slice(0, 100);
    throw terminalError('invalid_input', `\`${shown}\` is not a URL; write an absolute http or https URL`);
  }
  checkUrlRules(url);
  return url;
}

/** The rules that need no look-up. @throws StepError `egress_denied` */
export function checkUrlRules(url: URL): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw terminalError(
      'egress_denied',
      `URLs of scheme \`${url.protocol}\` are not requested; only http and https are`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw terminalError(
      'egress_denied',
      `The URL of ${url.host} carries a user name or password; put them into a credential of type \`basic\` instead`,
    );
  }
}

/** Finds and checks the addresses of URLs; what was found is remembered for `lookupTtlMs`, refusals are not. */
export function createDestinations(options: DestinationOptions): (url: URL) => Promise<Destination> {
  const checked = createLoadingCache<string, Destination>({
    load: (origin) => findDestination(options, new URL(origin)),
    maxEntries: MAX_REMEMBERED_HOSTS,
    maxAgeMs: options.lookupTtlMs,
  });
  return (url) => checked.get(url.origin);
}

async function findDestination(options: DestinationOptions, url: URL): Promise<Destination> {
  const host = hostOf(url);
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  const label = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const isLiteral = isIP(host) !== 0;
  const addresses = isLiteral ? [host] : await addressesOf(options.lookup, host);
  for (const address of addresses) {
    const rule = isDeniedAddress(address, options.ownNetworks);
    if (rule === undefined || isAllowedPrivate(options.allowPrivate, host, address, port)) continue;
    // A name's address is left out: it would tell what the platform's own network looks like.
    const subject = isLiteral ? `${host} is in` : `${host} leads to an address in`;
    throw terminalError(
      'egress_denied',
      `${subject} ${rule}, which steps may not reach; a platform administrator can allow it with EGRESS_ALLOW_PRIVATE=${label}`,
    );
  }
  const origin = `${url.protocol}//${label}`;
  return { origin, label, addresses, poolKey: `${origin} ${addresses.toSorted().join(' ')}` };
}

async function addressesOf(lookup: Lookup, host: string): Promise<readonly string[]> {
  let found: readonly string[];
  try {
    found = await lookup(host);
  } catch (cause) {
    const reason = errorCodeOf(cause) ?? 'unknown error';
    throw retryableError(
      'dns_failed',
      `The name ${host} could not be resolved (${reason}); is it spelled right?`,
      {
        cause,
      },
    );
  }
  if (found.length === 0) throw retryableError('dns_failed', `The name ${host} has no address`);
  // A spelling that cannot be read stays as it is, and is then denied.
  return [...new Set(found.map((address) => normalizeAddress(address) ?? address))];
}
