import { describe, expect, it } from 'vitest';
import { judgePool, poolPodSchema, poolSchema, type PoolPod } from './runner-pool.ts';

const pool = (status: object = {}, replicas = 2) => poolSchema.parse({ spec: { replicas }, status });
const failing = (message: string) =>
  pool({ conditions: [{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message }] });
const pod = (status: object, name = 'runner-1'): PoolPod =>
  poolPodSchema.parse({ metadata: { name }, status });
const waiting = (reason: string, message?: string) => ({
  containerStatuses: [{ state: { waiting: { reason, message } } }],
});
const creating = {
  conditions: [{ type: 'PodReadyToStartContainers', status: 'False' }],
  ...waiting('ContainerCreating'),
};

describe('a pool', () => {
  it.each([
    ['with a runner that waits', pool({ readyReplicas: 1 })],
    ['of which none is wanted', pool({}, 0)],
    // What could not be made besides is no matter for steps.
    ['with some, where more are refused', pool({ ...failing('exceeded quota').status, readyReplicas: 1 })],
  ])('%s is well', (_, one) => {
    expect(judgePool(one, [])).toMatchObject({ type: 'well' });
  });

  it.each([
    ['missing', 'there is no such Deployment', undefined],
    [
      'quota',
      'pods "runner-" is forbidden: exceeded quota: runners',
      failing('pods "runner-" is forbidden: exceeded quota: runners'),
    ],
    [
      'runtime_class',
      'pod rejected: RuntimeClass "gvisor" not found',
      failing('pod rejected: RuntimeClass "gvisor" not found'),
    ],
    ['refused', 'violates PodSecurity', failing('violates PodSecurity')],
  ])('that makes no pods says so: %s', (cause, reason, one) => {
    expect(judgePool(one, [])).toEqual({ type: 'empty', cause, reason, mayPass: false });
  });

  it.each([
    [
      'no_node',
      '0/3 nodes are available',
      pod({ conditions: [{ type: 'PodScheduled', status: 'False', message: '0/3 nodes are available' }] }),
    ],
    ['no_image', 'ErrImagePull not found', pod(waiting('ErrImagePull', 'not found'))],
    ['not_made', 'CreateContainerError', pod(waiting('CreateContainerError'))],
    ['ends', 'CrashLoopBackOff', pod(waiting('CrashLoopBackOff'))],
  ])('whose pods come to nothing says so: %s', (cause, reason, one) => {
    expect(judgePool(pool(), [pod(creating), one])).toEqual({
      type: 'empty',
      cause,
      reason: `runner-1: ${reason}`,
      mayPass: false,
    });
  });

  it('says what events tell of a pod that gets no sandbox, and without them that it gets none', () => {
    const event = 'no runtime for "runsc" is configured';
    expect(judgePool(pool(), [pod(creating)], new Map([['runner-1', event]]))).toMatchObject({
      cause: 'no_sandbox',
      reason: `runner-1: ${event}`,
      mayPass: false,
    });
    expect(judgePool(pool(), [pod(creating)])).toMatchObject({ cause: 'no_sandbox', mayPass: true });
    // It is of before, then.
    const running = pod({ containerStatuses: [{ state: { running: {} } }] });
    expect(judgePool(pool(), [running], new Map([['runner-1', event]]))).toMatchObject({
      cause: 'not_registered',
      mayPass: true,
    });
  });

  it.each([
    ['starting', []],
    ['starting', [pod(waiting('ContainerCreating'))]],
    ['not_registered', [pod({ containerStatuses: [{ state: { running: {} } }] })]],
  ])('is given time: %s', (cause, pods) => {
    expect(judgePool(pool(), pods)).toMatchObject({ type: 'empty', cause, mayPass: true });
  });
});
