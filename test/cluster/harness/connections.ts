import pLimit from 'p-limit';
import { waitFor } from '../../support/wait-for.ts';
import { isReady, type Kubectl, type Pod } from './kubectl.ts';
import { restrictedPod, type PodOptions } from './pods.ts';

/** A pod in place of one of the platform: its labels and ports, and nothing of its program. */
export interface Stand extends PodOptions {
  readonly namespace: string;
}

/** Where a connection goes: a stand by its name, or an address. */
export interface Target {
  readonly to: string;
  readonly port: number;
  readonly protocol?: 'TCP' | 'DNS';
}

export interface Connection extends Target {
  readonly from: string;
  readonly allowed: boolean;
}

export interface Stands {
  /** Whether a connection comes about, just now. */
  connects(connection: Connection): Promise<boolean>;
}

/** Seconds after which a packet that was not answered has been dropped. */
const PATIENCE_S = 2;
/** Each is a process on a node of two cores. */
const AT_ONCE = 6;

/** Makes stands, and waits until they run. */
export async function makeStands(kubectl: Kubectl, stands: readonly Stand[]): Promise<Stands> {
  const byName = new Map(stands.map((stand) => [stand.name, stand]));
  const made = stands.map((stand) => {
    const pod = restrictedPod(stand);
    return { ...pod, metadata: { ...pod.metadata, namespace: stand.namespace } };
  });
  const { code, stderr } = await kubectl.apply(made);
  if (code !== 0) throw new Error(`the pods were not let in: ${stderr}`);
  const addresses = new Map<string, string>();
  for (const { namespace, name } of stands) {
    const address = await waitFor(
      async () => {
        const pod = await kubectl.get<Pod>(namespace, 'pod', name);
        return isReady(pod) ? pod.status.podIP : undefined;
      },
      { timeoutMs: 90_000, intervalMs: 500, what: `pod ${name} to run` },
    );
    addresses.set(name, address);
  }
  const limit = pLimit(AT_ONCE);
  return {
    connects: ({ from, to, port, protocol }) =>
      limit(async () => {
        const stand = byName.get(from);
        if (stand === undefined) throw new Error(`there is no stand ${from}`);
        const address = addresses.get(to) ?? to;
        const dial =
          protocol === 'DNS'
            ? `timeout ${PATIENCE_S} nslookup -type=a kubernetes.default.svc.cluster.local ${address}`
            : `timeout ${PATIENCE_S} nc -w ${PATIENCE_S} ${address} ${port} </dev/null`;
        const args = [
          '--namespace',
          stand.namespace,
          'exec',
          from,
          '--',
          'sh',
          '-c',
          `${dial} >/dev/null 2>&1; echo $?`,
        ];
        const { code, stdout, stderr } = await kubectl.try(args, { timeoutMs: 30_000 });
        if (code !== 0) throw new Error(`${from} could not be told to dial: ${stderr}`);
        return stdout.trim() === '0';
      }),
  };
}
