/** The tool box that the kit has in every cluster. */
const BUSYBOX = 'localhost/busybox:cluster';

export interface PodManifest {
  readonly apiVersion: 'v1';
  readonly kind: 'Pod';
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly runtimeClassName?: string;
    readonly containers: readonly Readonly<Record<string, unknown>>[];
    readonly [field: string]: unknown;
  };
}

export interface PodOptions {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly runtimeClassName?: string;
  /** Each is listened on, and answers with the end of the connection. */
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
}

/** A pod that keeps to Pod Security `restricted`, listens, and can be told to dial. */
export function restrictedPod({ name, labels, runtimeClassName, ports = [] }: PodOptions): PodManifest {
  const listeners = ports.map(({ containerPort }) => `httpd -p ${containerPort} -h /tmp && `).join('');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: labels ?? {} },
    spec: {
      ...(runtimeClassName !== undefined && { runtimeClassName }),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 0,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65_532,
        runAsGroup: 65_532,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'main',
          image: BUSYBOX,
          command: ['sh', '-c', `${listeners}exec sleep 3600`],
          ports,
          resources: {
            requests: { cpu: '50m', memory: '64Mi' },
            limits: { cpu: '500m', memory: '256Mi' },
          },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    },
  };
}
