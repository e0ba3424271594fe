import type { Installation } from './installation.ts';
import type { Kubectl, KubernetesObject } from './kubectl.ts';

export type Values = Readonly<Record<string, string>>;

interface Secret extends KubernetesObject {
  readonly data: Values;
}

/** What the Secret of an installation says, in plain text. */
export async function secretOf(kubectl: Kubectl, { namespace, prefix }: Installation): Promise<Values> {
  const { data } = await kubectl.get<Secret>(namespace, 'secret', `${prefix}-millrace-secrets`);
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
  );
}
