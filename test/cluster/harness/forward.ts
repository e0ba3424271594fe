import { createProcesses } from '../../support/processes.ts';
import { freePort } from '../../support/free-port.ts';
import type { Kubectl } from './kubectl.ts';

/** Runs `work` with a port of this machine that `kubectl port-forward` leads to a Service or pod. */
export async function forwarding<T>(
  kubectl: Kubectl,
  namespace: string,
  target: string,
  port: number,
  work: (origin: string) => Promise<T>,
): Promise<T> {
  const processes = createProcesses();
  const local = await freePort();
  try {
    const forward = processes.start(
      ['kubectl', '--namespace', namespace, 'port-forward', target, `${local}:${port}`],
      { env: { PATH: kubectl.env['PATH'] ?? '', KUBECONFIG: kubectl.env['KUBECONFIG'] ?? '' } },
    );
    await forward.waitForOutput(/Forwarding from/, { timeoutMs: 20_000 });
    return await work(`http://127.0.0.1:${local}`);
  } finally {
    await processes.killAll();
  }
}
