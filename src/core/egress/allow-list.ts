import type { HostPattern } from '../credentials/types.ts';

/**
 * Whether a list of hosts has one for this URL. It says nothing of the addresses behind the name: those are checked all
 * the same (SECURITY section 4), so no entry opens a private one.
 */
export const isAllowed = (rules: readonly HostPattern[], url: URL): boolean =>
  rules.some((rule) => matchesHost(rule, url));

/** Whether a pattern means this URL's host and port. `*.example.com` means neither `example.com` nor any address. */
export function matchesHost(pattern: HostPattern, url: URL): boolean {
  const defaultPort = defaultPortOf(url);
  if (defaultPort === undefined) return false;
  if ((url.port || defaultPort) !== (pattern.port ?? defaultPort)) return false;
  const host = withoutRoot(url.hostname);
  const wanted = withoutRoot(pattern.host);
  return pattern.isSuffix ? host.endsWith(`.${wanted}`) : host === wanted;
}

/** What to write under `egress` so that a URL is allowed. */
export function ruleFor(url: URL): string {
  const host = withoutRoot(url.hostname);
  return url.port === '' ? host : `${host}:${url.port}`;
}

function defaultPortOf({ protocol }: URL): string | undefined {
  if (protocol === 'https:') return '443';
  return protocol === 'http:' ? '80' : undefined;
}

/** `example.com.` is the same host as `example.com`, and is connected to as such. */
const withoutRoot = (hostname: string): string => hostname.replace(/\.$/, '');
