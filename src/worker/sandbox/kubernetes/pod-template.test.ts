import { expect, test } from 'vitest';
import { podForImage, podFromTemplate, templateSchema } from './pod-template.ts';

const template = templateSchema.parse({
  metadata: { labels: { app: 'millrace', 'millrace.dev/pool': 'javascript' } },
  spec: {
    runtimeClassName: 'gvisor',
    volumes: [{ name: 'tmp', emptyDir: {} }],
    containers: [
      { name: 'relay', image: 'runner', resources: { limits: { cpu: '500m', memory: '128Mi' } } },
      {
        name: 'runner',
        image: 'runner',
        args: ['deno'],
        resources: {
          requests: { cpu: '100m', memory: '128Mi', 'ephemeral-storage': '16Mi' },
          limits: { cpu: '1', memory: '256Mi', 'ephemeral-storage': '128Mi' },
        },
      },
    ],
  },
});

test('a cold pod is one of the Deployment’s, that the Deployment does not count, with limits of its own', () => {
  const pod = podFromTemplate(template, { cpus: 0.5, memoryBytes: 536_870_912, pids: 256 });
  const [relay] = template.spec.containers;
  expect(pod).toEqual({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'runner-cold-',
      labels: { app: 'millrace', 'millrace.dev/pool': 'cold' },
    },
    spec: {
      ...template.spec,
      containers: [
        relay,
        {
          name: 'runner',
          image: 'runner',
          args: ['deno'],
          resources: {
            requests: { cpu: '100m', memory: '128Mi', 'ephemeral-storage': '16Mi' },
            limits: { cpu: '500m', memory: '512Mi', 'ephemeral-storage': '128Mi' },
          },
        },
      ],
    },
  });
});

test('it never requests more than its limits', () => {
  const pod = podFromTemplate(template, { cpus: 0.05, memoryBytes: 67_108_864, pids: 256 });
  expect(pod).toHaveProperty(['spec', 'containers', 1, 'resources', 'requests'], {
    cpu: '50m',
    memory: '64Mi',
    'ephemeral-storage': '16Mi',
  });
});

test('a pod for an image differs from its template by image, limits, deadline and whose it is, and by nothing else', () => {
  const pod = podForImage(template, {
    step: 'an-execution.a-step',
    image: 'ghcr.io/acme/tool:1',
    limits: { cpus: 2, memoryBytes: 1_073_741_824, pids: 256 },
    deadlineSeconds: 600,
    worker: 'worker-a',
  });
  const [relay, runner] = template.spec.containers;
  expect(pod).toEqual({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'step-',
      labels: {
        app: 'millrace',
        'millrace.dev/pool': 'image',
        'millrace.dev/claimed-by': 'worker-a',
      },
      annotations: { 'millrace.dev/step': 'an-execution.a-step' },
    },
    spec: {
      ...template.spec,
      activeDeadlineSeconds: 600,
      containers: [
        relay,
        {
          ...runner,
          image: 'ghcr.io/acme/tool:1',
          resources: {
            requests: { cpu: '100m', memory: '128Mi', 'ephemeral-storage': '16Mi' },
            limits: { cpu: '2000m', memory: '1024Mi', 'ephemeral-storage': '128Mi' },
          },
        },
      ],
    },
  });
});
