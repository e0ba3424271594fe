import { z } from '../../../core/zod.ts';
import { RUNNER_CONTAINER } from './names.ts';

const containerSchema = z.object({
  name: z.string(),
  state: z
    .object({
      waiting: z.object({ reason: z.string().optional(), message: z.string().optional() }).optional(),
      terminated: z
        .object({ reason: z.string().optional(), message: z.string().optional(), exitCode: z.number() })
        .optional(),
    })
    .optional(),
});
/** As much of a pod's status as is looked at. */
export const podStatusSchema = z.object({
  phase: z.string().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  conditions: z
    .array(z.object({ type: z.string(), status: z.string(), message: z.string().optional() }))
    .optional(),
  initContainerStatuses: z.array(containerSchema).optional(),
  containerStatuses: z.array(containerSchema).optional(),
});
export type PodStatus = z.infer<typeof podStatusSchema>;

/** How far a pod for an image has come. */
export type PodProgress =
  /** It has no node yet. */
  | { readonly type: 'pending'; readonly reason: string }
  | { readonly type: 'starting' }
  /** Its image cannot be had; `isFinal` where trying again would change nothing. */
  | { readonly type: 'no_image'; readonly reason: string; readonly isFinal: boolean }
  /** It will never run, or runs no more. */
  | { readonly type: 'failed'; readonly reason: string; readonly isOutOfMemory: boolean };

/** Why the kubelet waits, where it is for an image. */
const NO_IMAGE = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull']);
const NEVER_AN_IMAGE = new Set(['InvalidImageName', 'ErrImageNeverPull']);
/** What registries say of what they do not have, or do not give; and not of a network that is away. */
const REFUSED = /not found|does not exist|manifest unknown|denied|unauthorized|forbidden/i;
/** Why the kubelet tries again and again, to no avail. */
const NOT_MADE = new Set(['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError']);

export function progressOf(status: PodStatus): PodProgress {
  const { phase, conditions = [], initContainerStatuses = [], containerStatuses = [] } = status;
  const containers = [...initContainerStatuses, ...containerStatuses];
  const isOutOfMemory = containers.some(({ state }) => state?.terminated?.reason === 'OOMKilled');
  const failed = (reason: string): PodProgress => ({ type: 'failed', reason, isOutOfMemory });
  for (const { name, state } of containers) {
    const { reason = '', message = '' } = state?.waiting ?? {};
    const said = `${reason}: ${message}`;
    // That of runners is the platform's affair.
    if (NO_IMAGE.has(reason) && name === RUNNER_CONTAINER) {
      return { type: 'no_image', reason: said, isFinal: NEVER_AN_IMAGE.has(reason) || REFUSED.test(message) };
    }
    if (NOT_MADE.has(reason)) return failed(`container ${name}: ${said}`);
  }
  const ended = containerStatuses.find(({ state }) => state?.terminated !== undefined);
  if (phase === 'Failed' || phase === 'Succeeded' || ended !== undefined) {
    const { reason = '', exitCode } = ended?.state?.terminated ?? {};
    return failed(
      ended === undefined
        ? `${status.reason ?? phase ?? ''}: ${status.message ?? ''}`
        : `container ${ended.name} ended: ${reason} (exit code ${exitCode})`,
    );
  }
  const scheduled = conditions.find(({ type }) => type === 'PodScheduled');
  return scheduled?.status === 'True'
    ? { type: 'starting' }
    : { type: 'pending', reason: scheduled?.message ?? 'no node was chosen yet' };
}
