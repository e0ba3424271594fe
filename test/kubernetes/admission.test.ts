import { Environment } from '@marcbachmann/cel-js';
import { describe, expect, it } from 'vitest';
import { IMAGE_TEMPLATE } from '../../src/worker/sandbox/kubernetes/names.ts';
import { podForImage, templateSchema } from '../../src/worker/sandbox/kubernetes/pod-template.ts';
import { ENVIRONMENTS, matches, PREFIX, renderEnvironment, type Kinds } from '../support/manifests.ts';

const policy = renderEnvironment('production').then((rendered) => rendered.one('ValidatingAdmissionPolicy'));

/** What a policy refuses of a pod, evaluated as the API server does it. */
function refusals(
  { spec }: Kinds['ValidatingAdmissionPolicy'],
  object: Readonly<Record<string, unknown>>,
): readonly string[] {
  const language = new Environment({ unlistedVariablesAreDyn: true, homogeneousAggregateLiterals: false });
  const variables: Record<string, unknown> = {};
  for (const { name, expression } of spec.variables) {
    variables[name] = language.parse(expression)({ object, variables });
  }
  return spec.validations
    .filter(({ expression }) => language.parse(expression)({ object, variables }) !== true)
    .map(({ message }) => message);
}

const token = (more: Readonly<Record<string, unknown>>): object => ({
  name: 'token',
  projected: { sources: [{ serviceAccountToken: { path: 'token', ...more } }] },
});
const pod = (spec: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => ({
  metadata: { name: 'runner-1' },
  spec: {
    runtimeClassName: 'gvisor',
    automountServiceAccountToken: false,
    containers: [{ name: 'runner', image: 'runner' }],
    ...spec,
  },
});

describe('the admission policy of runner pods', () => {
  it('holds in the namespaces of runners, by their names, and nowhere else', async () => {
    const { namespaceSelector } = (await policy).spec.matchConstraints;
    for (const environment of ENVIRONMENTS) {
      const labels = (name: string) => ({ 'kubernetes.io/metadata.name': name });
      expect(matches(namespaceSelector, labels(`millrace-runners-${PREFIX[environment]}`))).toBe(true);
      expect(matches(namespaceSelector, labels(`millrace-${PREFIX[environment]}`))).toBe(false);
    }
  });

  it('is bound so that it denies', async () => {
    const { spec } = (await renderEnvironment('production')).one('ValidatingAdmissionPolicyBinding');
    expect(spec.policyName).toBe((await policy).metadata.name);
    expect(spec.validationActions).toContain('Deny');
  });

  it.each([
    ['a gVisor pod', {}],
    ['one with a folder of its own', { volumes: [{ name: 'tmp', emptyDir: {} }] }],
    [
      'one with the token for the gateway',
      { volumes: [token({ audience: 'millrace-runner', expirationSeconds: 3600 })] },
    ],
    [
      'one with a plain variable',
      { containers: [{ name: 'runner', env: [{ name: 'HOME', value: '/tmp' }] }] },
    ],
  ])('lets %s pass', async (_, spec) => {
    expect(refusals(await policy, pod(spec))).toEqual([]);
  });

  it('lets pods of container steps pass', async () => {
    const { template } = (await renderEnvironment('production')).one('PodTemplate', IMAGE_TEMPLATE);
    const made = podForImage(templateSchema.parse(template), {
      step: 'an-execution.a-step',
      image: 'example.com/tool:1',
      limits: { cpus: 1, memoryBytes: 268_435_456, pids: 256 },
      deadlineSeconds: 600,
      worker: 'worker-1',
    });
    expect(refusals(await policy, made as Readonly<Record<string, unknown>>)).toEqual([]);
  });

  it.each([
    ['no runtime class', { runtimeClassName: undefined }, 'runtimeClassName: gvisor'],
    ['another runtime class', { runtimeClassName: 'runc' }, 'runtimeClassName: gvisor'],
    ['a folder of the node', { volumes: [{ name: 'host', hostPath: { path: '/' } }] }, 'hostPath'],
    [
      'a persistent volume',
      { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }] },
      'persistent volume',
    ],
    ['a Secret', { volumes: [{ name: 's', secret: { secretName: 's' } }] }, 'hold no Secret'],
    [
      'a projected Secret',
      { volumes: [{ name: 's', projected: { sources: [{ secret: { name: 's' } }] } }] },
      'hold no Secret',
    ],
    [
      'a Secret as a variable',
      {
        containers: [
          { name: 'r', env: [{ name: 'K', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] },
        ],
      },
      'secretKeyRef',
    ],
    [
      'a Secret as variables of an init container',
      { initContainers: [{ name: 'i', envFrom: [{ secretRef: { name: 's' } }] }] },
      'envFrom',
    ],
    [
      'a token mounted by itself',
      { automountServiceAccountToken: undefined },
      'automountServiceAccountToken: false',
    ],
    ['a token for the API server', { volumes: [token({ expirationSeconds: 3600 })] }, 'only token'],
    ['a token for somebody else', { volumes: [token({ audience: 'vault' })] }, 'only token'],
    [
      'a token that lives for a day',
      { volumes: [token({ audience: 'millrace-runner', expirationSeconds: 86_400 })] },
      'only token',
    ],
  ])('refuses %s', async (_, spec, message) => {
    const entries = Object.entries(pod(spec)['spec'] as object).filter(([, value]) => value !== undefined);
    const refused = refusals(await policy, { spec: Object.fromEntries(entries) });
    expect(refused).toHaveLength(1);
    expect(refused[0]).toContain(message);
  });
});
