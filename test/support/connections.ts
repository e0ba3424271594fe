import { BlockList, isIPv6 } from 'node:net';
import { matches, type Kinds, type LabelSelector, type Peer, type Rendered, type Rule } from './manifests.ts';

/** One end of a connection: a pod, or an address that is no pod's. */
export interface Endpoint {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** The container ports that have names. */
  readonly ports?: Readonly<Record<string, number>>;
  readonly address?: string;
}

export interface Connection {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly port: number;
  readonly protocol?: 'TCP' | 'UDP';
}

/**
 * Whether the policies let a connection happen, as networking.k8s.io/v1 NetworkPolicy says: a pod that no policy of a
 * direction selects is open in it, and otherwise one rule of any of them has to allow it.
 */
export function isAllowed(rendered: Rendered, connection: Connection): boolean {
  const { from, to } = connection;
  const policies = rendered.of('NetworkPolicy');
  return (
    passes(policies, 'Egress', from, (rule) => rule.to, to, connection) &&
    passes(policies, 'Ingress', to, (rule) => rule.from, from, connection)
  );
}

function passes(
  policies: readonly Kinds['NetworkPolicy'][],
  direction: 'Ingress' | 'Egress',
  pod: Endpoint,
  peersOf: (rule: Rule) => readonly Peer[] | undefined,
  other: Endpoint,
  connection: Connection,
): boolean {
  if (pod.namespace === undefined) return true; // no pod
  const selecting = policies.filter(
    ({ metadata, spec }) =>
      metadata.namespace === pod.namespace &&
      spec.policyTypes.includes(direction) &&
      matches(spec.podSelector, pod.labels ?? {}),
  );
  if (selecting.length === 0) return true;
  return selecting.some(({ metadata, spec }) =>
    ((direction === 'Ingress' ? spec.ingress : spec.egress) ?? []).some((rule) => {
      const peers = peersOf(rule);
      return (
        (peers === undefined || peers.some((peer) => isPeer(peer, metadata.namespace!, other))) &&
        hasPort(rule, connection)
      );
    }),
  );
}

function isPeer(peer: Peer, policyNamespace: string, endpoint: Endpoint): boolean {
  if (peer.ipBlock !== undefined) {
    // Addresses of pods are private ones, and these are tested as addresses.
    if (endpoint.address === undefined) return false;
    const isWithin = (cidr: string): boolean => within(cidr, endpoint.address!);
    return isWithin(peer.ipBlock.cidr) && !(peer.ipBlock.except ?? []).some(isWithin);
  }
  if (endpoint.namespace === undefined) return false;
  const inNamespace =
    peer.namespaceSelector === undefined
      ? endpoint.namespace === policyNamespace
      : matches(peer.namespaceSelector, { 'kubernetes.io/metadata.name': endpoint.namespace });
  return inNamespace && selects(peer.podSelector, endpoint);
}

const selects = (selector: LabelSelector | undefined, { labels = {} }: Endpoint): boolean =>
  selector === undefined || matches(selector, labels);

function within(cidr: string, address: string): boolean {
  const [network, bits] = cidr.split('/');
  if (isIPv6(network!) !== isIPv6(address)) return false;
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(network!, Number(bits), family);
  return list.check(address, family);
}

const hasPort = ({ ports }: Rule, { to, port, protocol = 'TCP' }: Connection): boolean =>
  ports === undefined ||
  ports.some((one) => {
    if (one.protocol !== protocol) return false;
    if (typeof one.port === 'string') return to.ports?.[one.port] === port;
    return one.endPort === undefined ? one.port === port : port >= one.port && port <= one.endPort;
  });
