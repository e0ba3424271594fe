import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = readonly [address: Address, prefixLength: number];

/** What no request may reach unless EGRESS_ALLOW_PRIVATE says so (SECURITY section 4; IANA's special registries). */
const DENIED_RANGES = [
  ['0.0.0.0/8', 'this network'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'shared address space'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local, cloud metadata'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'protocol assignments'],
  ['192.0.2.0/24', 'documentation'],
  ['192.88.99.0/24', '6to4 relay'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'benchmarking'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved, broadcast'],
  ['168.63.129.16/32', 'cloud platform service'],
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['64:ff9b::/96', 'NAT64'],
  ['64:ff9b:1::/48', 'local NAT64'],
  ['100::/64', 'discard-only'],
  ['2001::/32', 'Teredo'],
  ['2001:db8::/32', 'documentation'],
  ['2002::/16', '6to4'],
  ['3fff::/20', 'documentation'],
  ['5f00::/16', 'segment routing'],
  ['fc00::/7', 'unique local'],
  ['fe80::/10', 'link-local'],
  ['ff00::/8', 'multicast'],
] as const;

const DENIED = DENIED_RANGES.map(([cidr, what]) => ({ cidr, what, range: ipaddr.parseCIDR(cidr) }));
/** All global unicast IPv6 is in here; the rest is unassigned, deprecated or special. */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3');

/**
 * Why an address is not to be connected to, naming the rule; undefined for a public one. IPv4 inside `::ffff:0:0/96`
 * counts as that IPv4 address, since the socket goes there. The other embeddings (NAT64, 6to4, Teredo) are denied
 * whole, whatever they carry. What is no IP address is denied too.
 *
 * @param ip an IP literal without brackets
 * @param ownNetworks denied beside the fixed list: where the platform itself listens
 */
export function isDeniedAddress(ip: string, ownNetworks: readonly Network[] = []): string | undefined {
  const address = parseAddress(ip);
  if (address === undefined) return 'not an IP address';
  for (const { cidr, what, range } of DENIED) {
    if (isInside(address, range)) return `${cidr} (${what}${embeddedIn(address)})`;
  }
  if (address.kind() === 'ipv6' && !isInside(address, GLOBAL_UNICAST)) {
    return 'outside 2000::/3 (not global unicast)';
  }
  const own = ownNetworks.find(({ range }) => isInside(address, range));
  return own === undefined ? undefined : `${own.text} (the platform’s own network)`;
}

/** A network as the platform's own are given: one address, or CIDR. */
export interface Network {
  readonly text: string;
  readonly range: Range;
}

/**
 * Reads an address (an interface's, with a zone or not) or a network in CIDR notation.
 *
 * @throws Error that says what is wrong
 */
export function networkOf(text: string): Network {
  const bare = text.replace(/%.*$/, '');
  const address = parseAddress(bare);
  if (address !== undefined) return { text, range: [address, address.kind() === 'ipv4' ? 32 : 128] };
  const network = parseNetwork(bare);
  if (typeof network === 'string') throw new Error(`\`${text}\` ${network}`);
  return network;
}

/** The one spelling of an address; v4-mapped IPv6 becomes IPv4. Undefined for what is no IP literal. */
export function normalizeAddress(ip: string): string | undefined {
  return parseAddress(ip)?.toString();
}

function parseAddress(ip: string): Address | undefined {
  // Only the four-part decimal form: `ipaddr.isValid` alone would also take `127.1` or `0x7f000001`.
  if (!ip.includes(':')) return ipaddr.IPv4.isValidFourPartDecimal(ip) ? ipaddr.IPv4.parse(ip) : undefined;
  // In hex throughout: ipaddr.js reads `::1.2.3.4` as v4-mapped, which it is not.
  const spelled = ip.includes('.') ? URL.parse(`http://[${ip}]/`)?.hostname.slice(1, -1) : ip;
  return spelled !== undefined && ipaddr.isValid(spelled) ? ipaddr.process(spelled) : undefined;
}

function isInside(address: Address, [network, prefixLength]: Range): boolean {
  // `match` throws on mixed families.
  return address.kind() === network.kind() && address.match(network, prefixLength);
}

/** The IPv4 address that a NAT64, 6to4 or Teredo address leads to, for the message. */
function embeddedIn(address: Address): string {
  if (address.kind() === 'ipv4') return '';
  const bytes = address.toByteArray();
  const prefix = Buffer.from(bytes.slice(0, 4)).toString('hex');
  const carried =
    prefix === '0064ff9b'
      ? bytes.slice(12)
      : prefix.startsWith('2002')
        ? bytes.slice(2, 6)
        : prefix === '20010000'
          ? bytes.slice(12).map((byte) => byte ^ 0xff)
          : undefined;
  return carried === undefined ? '' : ` of ${carried.join('.')}`;
}

/** One entry of EGRESS_ALLOW_PRIVATE. */
export type AllowPrivateEntry =
  | ({ readonly kind: 'network' } & Network)
  | { readonly kind: 'host'; readonly text: string; readonly host: string; readonly port: number };

/**
 * Reads EGRESS_ALLOW_PRIVATE: `host:port` and CIDR, comma separated; empty means nothing is allowed.
 *
 * @throws Error that names every entry that cannot be read, and says how to write it.
 */
export function parseAllowPrivate(text: string): readonly AllowPrivateEntry[] {
  const entries: AllowPrivateEntry[] = [];
  const problems: string[] = [];
  for (const piece of text.split(',').map((part) => part.trim())) {
    if (piece === '') continue;
    const entry = piece.includes('/') ? parseNetwork(piece) : parseHostPort(piece);
    if (typeof entry === 'string') problems.push(`\`${piece}\` ${entry}`);
    else entries.push(entry);
  }
  if (problems.length > 0) throw new Error(problems.join('; '));
  return entries;
}

function parseNetwork(text: string): ({ readonly kind: 'network' } & Network) | string {
  const [ip = '', bits = '', ...rest] = text.split('/');
  const remedy = 'write host:port or a network such as 10.0.0.0/8';
  if (text.includes('://')) return `is a URL; ${remedy}`;
  const address = parseAddress(ip);
  if (address === undefined || rest.length > 0) return `is no network; ${remedy}`;
  if (ip.includes(':') && address.kind() === 'ipv4') return 'is v4-mapped; write the IPv4 network';
  const max = address.kind() === 'ipv4' ? 32 : 128;
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > max)
    return `needs a prefix length of 0 to ${max} after the slash`;
  return { kind: 'network', text, range: [address, Number(bits)] };
}

function parseHostPort(text: string): AllowPrivateEntry | string {
  const [, rawHost = '', port = ''] = /^(.*):([^:\]]*)$/.exec(text) ?? [];
  const address = parseAddress(text);
  if (address !== undefined) {
    return address.kind() === 'ipv4'
      ? `has no port; write ${text}:port, or ${text}/32 for every port`
      : `has no port; write [${text}]:port, or ${text}/128 for every port`;
  }
  if (rawHost === '') return 'has no port; write host:port';
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
    return 'needs a port of 1 to 65535';
  const url = /[@?#\\\s*%]/.test(rawHost) ? null : URL.parse(`http://${rawHost}/`);
  if (url === null || url.hostname === '' || url.port !== '') {
    return 'needs a host name, an IPv4 address or an [IPv6 address] before the port';
  }
  return { kind: 'host', text, host: hostOf(url), port: Number(port) };
}

/** A URL's host as entries and look-ups spell it: without brackets and without the root's trailing dot. */
export function hostOf(url: URL): string {
  const { hostname } = url;
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname.replace(/\.$/, '');
  return normalizeAddress(bare) ?? bare;
}

/**
 * Whether a platform administrator allowed this destination. A network allows its addresses on every port. An
 * entry with an IP allows that address on that port, under whatever name it is reached; one with a host name
 * allows what that very name resolves to, on that port.
 */
export function isAllowedPrivate(
  entries: readonly AllowPrivateEntry[],
  host: string,
  ip: string,
  port: number,
): boolean {
  const address = parseAddress(ip);
  if (address === undefined) return false;
  const spelled = address.toString();
  return entries.some((entry) =>
    entry.kind === 'network'
      ? isInside(address, entry.range)
      : entry.port === port && (entry.host === spelled || entry.host === host),
  );
}
