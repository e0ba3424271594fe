import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { forwarding } from './forward.ts';
import type { Installation } from './installation.ts';
import type { Kubectl, KubernetesObject } from './kubectl.ts';
import { secretOf } from './secret.ts';

interface Service extends KubernetesObject {
  readonly spec: { readonly clusterIP: string };
}

/** Runs `work` with a client of an installation's API, as its first owner. */
export async function withApi<T>(
  kubectl: Kubectl,
  installation: Installation,
  work: (client: ApiClient) => Promise<T>,
): Promise<T> {
  const { namespace, prefix } = installation;
  const { 'bootstrap-api-key': key } = await secretOf(kubectl, installation);
  return forwarding(kubectl, namespace, `service/${prefix}-millrace-api`, 80, (origin) =>
    work(createApiClient(origin, key)),
  );
}

/** The same by the Service's own address; a policy has to let this machine in. */
export async function openApi(kubectl: Kubectl, installation: Installation): Promise<ApiClient> {
  const { namespace, prefix } = installation;
  const { 'bootstrap-api-key': key } = await secretOf(kubectl, installation);
  const service = await kubectl.get<Service>(namespace, 'service', `${prefix}-millrace-api`);
  return createApiClient(`http://${service.spec.clusterIP}`, key);
}
