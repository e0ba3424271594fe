import { z } from '../../../core/zod.ts';
import type { SandboxLimits } from '../driver.ts';
import { COLD, POOL_LABEL, RUNNER_CONTAINER } from './names.ts';
import { parseQuantity } from './quantity.ts';

const MIB = 1_048_576;

const quantities = z.record(z.string(), z.string()).optional();
/** The pod template of a Deployment: all of it is kept, and little of it looked at. */
export const templateSchema = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()) }),
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

/**
 * A pod as the template says, with the limits that a step asks for. These are all that may be another: a step never has a
 * say in images, volumes, users or networks.
 */
export function podFromTemplate(template: PodTemplate, limits: SandboxLimits): object {
  const asked = {
    cpu: `${Math.round(limits.cpus * 1000)}m`,
    memory: `${Math.ceil(limits.memoryBytes / MIB)}Mi`,
  };
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
      containers: template.spec.containers.map((container) => {
        if (container.name !== RUNNER_CONTAINER) return container;
        const requests = container.resources?.requests;
        const resources = {
          limits: { ...container.resources?.limits, ...asked },
          requests: {
            ...requests,
            cpu: atMost(requests?.['cpu'], asked.cpu),
            memory: atMost(requests?.['memory'], asked.memory),
          },
        };
        return { ...container, resources };
      }),
    },
  };
}

/** A request above its limit is refused. */
const atMost = (request: string | undefined, limit: string): string =>
  request === undefined || (parseQuantity(request) ?? Infinity) > parseQuantity(limit)! ? limit : request;
