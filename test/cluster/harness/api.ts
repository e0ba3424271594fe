import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { forwarding } from './forward.ts';
import type { Installation } from './installation.ts';
import type { Kubectl } from './kubectl.ts';

/** Runs `work` with a client of an installation's API, as its first owner. */
export async function withApi<T>(
  kubectl: Kubectl,
  { namespace, prefix }: Installation,
  work: (client: ApiClient) => Promise<T>,
): Promise<T> {
  const key = await kubectl.run([
    '--namespace',
    namespace,
    'get',
    'secret',
    `${prefix}-millrace-secrets`,
    '--output',
    'jsonpath={.data.bootstrap-api-key}',
  ]);
  return forwarding(kubectl, namespace, `service/${prefix}-millrace-api`, 80, (origin) =>
    work(createApiClient(origin, Buffer.from(key, 'base64').toString())),
  );
}
