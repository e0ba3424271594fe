import { expect, test } from 'vitest';
import { progressOf, type PodProgress, type PodStatus } from './pod-progress.ts';

const waiting = (reason: string, message = '', name = 'runner'): PodStatus => ({
  conditions: [{ type: 'PodScheduled', status: 'True' }],
  containerStatuses: [{ name, state: { waiting: { reason, message } } }],
});
const ended = (name: string, reason: string, exitCode: number) => ({
  name,
  state: { terminated: { reason, exitCode } },
});

test.each<[string, PodStatus, Partial<PodProgress>]>([
  ['nothing is known of', {}, { type: 'pending', reason: 'no node was chosen yet' }],
  [
    'no node has room for',
    { conditions: [{ type: 'PodScheduled', status: 'False', message: '0/1 nodes are available' }] },
    { type: 'pending', reason: '0/1 nodes are available' },
  ],
  ['is being started', waiting('ContainerCreating'), { type: 'starting' }],
  [
    'runs',
    { phase: 'Running', conditions: [{ type: 'PodScheduled', status: 'True' }] },
    { type: 'starting' },
  ],
  [
    'has an image that no registry has',
    waiting('ErrImagePull', 'failed to resolve reference "x": example.com/x:1: not found'),
    { type: 'no_image', isFinal: true },
  ],
  [
    'has an image that a registry does not give',
    waiting('ErrImagePull', 'pull access denied, repository does not exist or may require authorization'),
    { type: 'no_image', isFinal: true },
  ],
  [
    'has an image whose registry is away',
    waiting('ErrImagePull', 'dial tcp 192.0.2.1:443: i/o timeout'),
    { type: 'no_image', isFinal: false, reason: 'ErrImagePull: dial tcp 192.0.2.1:443: i/o timeout' },
  ],
  ['has an image that is to be there', waiting('ErrImageNeverPull'), { type: 'no_image', isFinal: true }],
  ['waits for the image of runners', waiting('ErrImagePull', 'not found', 'relay'), { type: 'starting' }],
  [
    'cannot be made',
    waiting('CreateContainerError', 'no such file'),
    { type: 'failed', reason: 'container runner: CreateContainerError: no such file', isOutOfMemory: false },
  ],
  [
    'was ended by its deadline',
    { phase: 'Failed', reason: 'DeadlineExceeded', message: 'Pod was active longer than allowed' },
    { type: 'failed', reason: 'DeadlineExceeded: Pod was active longer than allowed' },
  ],
  [
    'has used up its memory',
    { containerStatuses: [ended('relay', 'Error', 137), ended('runner', 'OOMKilled', 137)] },
    { type: 'failed', isOutOfMemory: true },
  ],
  [
    'has ended',
    { containerStatuses: [ended('runner', 'Error', 1)] },
    { type: 'failed', reason: 'container runner ended: Error (exit code 1)', isOutOfMemory: false },
  ],
  [
    'has provided what it needs',
    {
      conditions: [{ type: 'PodScheduled', status: 'True' }],
      initContainerStatuses: [ended('provide', 'Completed', 0)],
    },
    { type: 'starting' },
  ],
])('a pod that %s', (_, status, expected) => {
  expect(progressOf(status)).toMatchObject(expected);
});
