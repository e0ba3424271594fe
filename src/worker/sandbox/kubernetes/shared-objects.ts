import { z } from '../../../core/zod.ts';
import { KubernetesError, type KubernetesApi } from './api.ts';
import {
  certificatesSchema,
  planCertificates,
  trustedAuthorities,
  VALID_MS,
  type Certificates,
} from './certificates.ts';
import {
  ADDRESS_KEY,
  AUTHORITIES_KEY,
  CERTIFICATES_KEY,
  GATEWAY_CONFIG_MAP,
  GATEWAY_PORT_NAME,
  SERVER_NAME,
} from './names.ts';
import { issueCertificate } from './x509.ts';

const TRIES = 5;

const storedSchema = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).optional(),
});
const serviceSchema = z.object({
  spec: z.object({
    clusterIP: z.string(),
    ports: z.array(z.object({ name: z.string().optional(), port: z.number() })),
  }),
});
const slicesSchema = z.object({
  items: z.array(
    z.object({
      ports: z.array(z.object({ name: z.string().optional(), port: z.number().optional() })).nullish(),
      endpoints: z
        .array(
          z.object({
            addresses: z.array(z.string()),
            conditions: z.object({ ready: z.boolean().optional() }).optional(),
            targetRef: z.object({ name: z.string().optional() }).optional(),
          }),
        )
        .nullish(),
    }),
  ),
});

export interface Workers {
  /** `host:port` of the gateways of those that are ready. */
  readonly gateways: readonly string[];
  /** Their pods, ready or not, for as long as they exist. */
  readonly pods: ReadonlySet<string>;
}

/** What the workers of an installation keep together; each of them does, and all would write the same. */
export interface SharedObjects {
  /** Gives the gateway's certificates, and makes and renews them when they are due. */
  certificates(): Promise<Certificates>;
  /** Tells runners where some gateway is, and whom to trust. */
  publish(certificates: Certificates): Promise<void>;
  workers(): Promise<Workers>;
}

export function createSharedObjects(deps: {
  readonly api: KubernetesApi;
  /** Of the workers. */
  readonly namespace: string;
  /** Of the Service and the Secret of the gateway. */
  readonly gatewayName: string;
  readonly runnerNamespace: string;
  readonly now: () => number;
}): SharedObjects {
  const { api, namespace, gatewayName, runnerNamespace, now } = deps;

  /** Changes the data of an object, unless somebody else does so first: then again, with what is there by then. */
  const update = async <T>(path: string, change: (data: Data) => { data: Data; result: T }): Promise<T> => {
    for (let left = TRIES; ; left--) {
      const stored = await api.call({ path, answer: storedSchema });
      const before = stored.data ?? {};
      const { data, result } = change(before);
      if (data === before) return result;
      try {
        await api.call({ method: 'PUT', path, body: { ...stored, data }, answer: z.unknown() });
        return result;
      } catch (raw) {
        if (!(raw instanceof KubernetesError && raw.status === 409) || left === 0) throw raw;
      }
    }
  };

  return {
    certificates: () =>
      update(`/api/v1/namespaces/${namespace}/secrets/${gatewayName}`, (data) => {
        const stored = parseStored(data[CERTIFICATES_KEY]);
        const result = planCertificates(stored, now(), () => issueCertificate(SERVER_NAME, now(), VALID_MS));
        if (result === stored) return { data, result };
        const text = Buffer.from(JSON.stringify(result)).toString('base64');
        return { data: { ...data, [CERTIFICATES_KEY]: text }, result };
      }),
    async publish(certificates) {
      const { spec } = await api.call({
        path: `/api/v1/namespaces/${namespace}/services/${gatewayName}`,
        answer: serviceSchema,
      });
      const port = spec.ports.find(({ name }) => name === GATEWAY_PORT_NAME)?.port;
      if (port === undefined) throw new Error(`Service ${gatewayName} has no port ${GATEWAY_PORT_NAME}`);
      const address = hostPort(spec.clusterIP, port);
      const authorities = trustedAuthorities(certificates);
      await update(`/api/v1/namespaces/${runnerNamespace}/configmaps/${GATEWAY_CONFIG_MAP}`, (data) => ({
        data:
          data[ADDRESS_KEY] === address && data[AUTHORITIES_KEY] === authorities
            ? data
            : { ...data, [ADDRESS_KEY]: address, [AUTHORITIES_KEY]: authorities },
        result: undefined,
      }));
    },
    async workers() {
      const selector = encodeURIComponent(`kubernetes.io/service-name=${gatewayName}`);
      const { items } = await api.call({
        path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=${selector}`,
        answer: slicesSchema,
      });
      const gateways = new Set<string>();
      const pods = new Set<string>();
      for (const { ports, endpoints } of items) {
        const port = ports?.find(({ name }) => name === GATEWAY_PORT_NAME)?.port;
        for (const { addresses, conditions, targetRef } of endpoints ?? []) {
          if (targetRef?.name !== undefined) pods.add(targetRef.name);
          const [address] = addresses;
          if (conditions?.ready !== false && address !== undefined && port !== undefined) {
            gateways.add(hostPort(address, port));
          }
        }
      }
      return { gateways: [...gateways].sort(), pods };
    },
  };
}

type Data = Readonly<Record<string, string>>;

/** What cannot be read is as good as none: another is made. */
function parseStored(text: string | undefined): Certificates | undefined {
  if (text === undefined) return undefined;
  try {
    return certificatesSchema.parse(JSON.parse(Buffer.from(text, 'base64').toString('utf8')));
  } catch {
    return undefined;
  }
}

export const hostPort = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
