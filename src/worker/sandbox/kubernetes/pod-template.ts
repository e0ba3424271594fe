import { z } from '../../../core/zod.ts';
import type { SandboxLimits } from '../driver.ts';
import { CLAIMED_LABEL, COLD, IMAGE_POOL, POOL_LABEL, RUNNER_CONTAINER, STEP_ANNOTATION } from './names.ts';
import { parseQuantity } from './quantity.ts';

const MIB = 1_048_576;

const quantities = z.record(z.string(), z.string()).optional();
/** The pod template of a Deployment or PodTemplate: all of it is kept, and little of it looked at. */
export const templateSchema = z.object({
  metadata: z.object({
    labels: z.record(z.string(), z.string()),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.looseObject({
    containers: z.array(
      z.looseObject({
        name: z.string(),
        resources: z.object({ requests: quantities, limits: quantities }).optional(),
      }),
    ),
  }),
});
export type PodTemplate = z.infer<typeof templateSchema>;
type Container = PodTemplate['spec']['containers'][number];

/**
 * A pod as the template says, with the limits that a step asks for. These are all that may be another: a step never has a
 * say in images, volumes, users or networks.
 */
export function podFromTemplate(template: PodTemplate, limits: SandboxLimits): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'runner-cold-',
      // Not the value that its Deployment selects by, which would take it for one too many.
      labels: { ...template.metadata.labels, [POOL_LABEL]: COLD },
    },
    spec: {
      ...template.spec,
      containers: withRunner(template, (runner) => ({ ...runner, resources: resourcesOf(runner, limits) })),
    },
  };
}

/** What of a pod for a program of an image is not the template's. */
export interface ImagePod {
  /** Whom it is for. */
  readonly step: string;
  readonly image: string;
  readonly limits: SandboxLimits;
  /** From when the pod is bound to a node. */
  readonly deadlineSeconds: number;
  /** Whose it is from the beginning: the pod of a worker. */
  readonly worker: string;
}

/** A pod as the template says, with the image and the limits of a step, and an end that does not depend on its worker. */
export function podForImage(template: PodTemplate, pod: ImagePod): object {
  const { step, image, limits, deadlineSeconds, worker } = pod;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'step-',
      labels: { ...template.metadata.labels, [POOL_LABEL]: IMAGE_POOL, [CLAIMED_LABEL]: worker },
      annotations: { ...template.metadata.annotations, [STEP_ANNOTATION]: step },
    },
    spec: {
      ...template.spec,
      activeDeadlineSeconds: deadlineSeconds,
      containers: withRunner(template, (runner) => ({
        ...runner,
        image,
        resources: resourcesOf(runner, limits),
      })),
    },
  };
}

const withRunner = ({ spec }: PodTemplate, change: (runner: Container) => object): readonly object[] =>
  spec.containers.map((container) => (container.name === RUNNER_CONTAINER ? change(container) : container));

function resourcesOf({ resources }: Container, limits: SandboxLimits): Container['resources'] {
  const asked = {
    cpu: `${Math.round(limits.cpus * 1000)}m`,
    memory: `${Math.ceil(limits.memoryBytes / MIB)}Mi`,
  };
  const requests = resources?.requests;
  return {
    limits: { ...resources?.limits, ...asked },
    requests: {
      ...requests,
      cpu: atMost(requests?.['cpu'], asked.cpu),
      memory: atMost(requests?.['memory'], asked.memory),
    },
  };
}

/** A request above its limit is refused. */
const atMost = (request: string | undefined, limit: string): string =>
  request === undefined || (parseQuantity(request) ?? Infinity) > parseQuantity(limit)! ? limit : request;
