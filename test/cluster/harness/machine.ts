/** This machine, as the cluster sees it. */
export const MACHINE = '10.243.0.1';

/** A NetworkPolicy that lets this machine in at a component's port, or a component out to a port of this machine. */
export const machinePolicy = (
  component: string,
  direction: 'Ingress' | 'Egress',
  port: number,
): Readonly<Record<string, unknown>> => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: `test-${component}`, labels: { 'millrace.dev/part': 'policies' } },
  spec: {
    podSelector: {
      matchLabels: { 'app.kubernetes.io/name': 'millrace', 'app.kubernetes.io/component': component },
    },
    policyTypes: [direction],
    [direction.toLowerCase()]: [
      {
        [direction === 'Ingress' ? 'from' : 'to']: [{ ipBlock: { cidr: '10.243.0.0/30' } }],
        ports: [{ protocol: 'TCP', port }],
      },
    ],
  },
});

/** What a test under load needs: this machine as a sender, as the service that steps call, and as the administrator. */
export const machineAccess = (servicePort: number): string =>
  [
    machinePolicy('api', 'Ingress', 8080),
    machinePolicy('postgres', 'Ingress', 5432),
    machinePolicy('worker', 'Egress', servicePort),
  ]
    .map((policy) => JSON.stringify(policy))
    .join('\n---\n');
