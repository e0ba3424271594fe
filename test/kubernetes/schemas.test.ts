import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../support/processes.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';
import { ENVIRONMENTS, OTHERS, renderEnvironment, renderEverything, tool } from '../support/manifests.ts';

const run = promisify(execFile);
const SCHEMAS = join(PROJECT_ROOT, 'test/kubernetes/schemas');

async function fileOf(text: string): Promise<string> {
  const file = join(await makeTempDirectory(), 'manifests.yaml');
  await writeFile(file, text);
  return file;
}

interface Conformity {
  readonly summary: { readonly valid: number; readonly invalid: number; readonly skipped: number };
  readonly resources: readonly { readonly name: string; readonly msg: string }[];
}

/** What kubeconform says; it exits with 1 where something is invalid. */
async function conformity(text: string, version: string): Promise<Conformity> {
  const locations = [version, 'custom'].flatMap((folder) => [
    '-schema-location',
    `${SCHEMAS}/${folder}/{{.ResourceKind}}{{.KindSuffix}}.json`,
  ]);
  const args = ['-strict', '-summary', '-output', 'json', ...locations, await fileOf(text)];
  const { stdout } = await run(tool('kubeconform'), args).catch(
    (raw: unknown) => raw as { readonly stdout: string },
  );
  return JSON.parse(stdout) as Conformity;
}

/** The overlays as they are, and with what they may have besides. */
const rendering = Promise.all([
  ...ENVIRONMENTS.map(renderEnvironment),
  renderEverything(),
  ...Object.values(OTHERS).map((renderOther) => renderOther()),
]);

// Kustomize and kubeconform go through thousands of lines, on a busy machine slowly.
describe('schemas', { timeout: 120_000 }, () => {
  it.each(['v1.30', 'v1.34'])(
    'of Kubernetes %s, and of the components’ kinds, know all of it',
    async (version) => {
      const rendered = await rendering;

      const { summary, resources } = await conformity(
        rendered.map(({ text }) => text).join('---\n'),
        version,
      );

      expect(resources).toEqual([]);
      const valid = rendered.reduce((sum, { all }) => sum + all.length, 0);
      expect(summary).toMatchObject({ valid, invalid: 0, skipped: 0 });
    },
  );

  it.each([
    ['a misspelt field', 'automountServiceAccountToken: false', 'autoMountServiceAccountToken: false'],
    [
      'a field of the wrong type',
      'terminationGracePeriodSeconds: 330',
      'terminationGracePeriodSeconds: soon',
    ],
    ['a version that is gone', 'apiVersion: policy/v1\n', 'apiVersion: policy/v1beta1\n'],
    ['a misspelt field of another kind', 'refreshInterval: 1h', 'refreshIntervall: 1h'],
  ])('find %s', async (_, right, wrong) => {
    const { text } = await renderEnvironment('production');
    expect(text).toContain(right);

    const { resources } = await conformity(text.replaceAll(right, wrong), 'v1.30');

    expect(resources.length).toBeGreaterThan(0);
  });
});

interface Score {
  /** Kind, version, namespace and name, with slashes. */
  readonly object_name: string;
  readonly checks: readonly {
    readonly check: { readonly id: string };
    readonly grade: number;
    readonly skipped: boolean;
  }[];
}

/** Grades below this are warnings and worse. */
const PASSED = 7;

async function findings(text: string): Promise<readonly string[]> {
  const optional = ['container-seccomp-profile', 'container-ports-check'];
  const args = [
    'score',
    '--kubernetes-version=v1.30',
    '--output-format=json',
    ...optional.flatMap((name) => ['--enable-optional-test', name]),
    // Pulling anew each time would bind every start to the registry; images are named by digest, or loaded by hand.
    '--ignore-test=container-image-pull-policy',
    await fileOf(text),
  ];
  const { stdout } = await run(tool('kube-score'), args, { maxBuffer: 16 * 1024 * 1024 }).catch(
    (raw: unknown) => raw as { readonly stdout: string },
  );
  return (JSON.parse(stdout) as readonly Score[])
    .flatMap(({ object_name: name, checks }) =>
      checks
        .filter(({ grade, skipped }) => !skipped && grade < PASSED)
        .map(({ check }) => `${name.split('/').at(-1)}: ${check.id}`),
    )
    .sort();
}

/** The official images have a user of their own below 10000, and one of each is enough at a desk. */
const single = (name: string): readonly string[] => [
  `${name}: container-security-context-user-group-id`,
  `${name}: statefulset-has-host-podantiaffinity`,
  `${name}: statefulset-has-poddisruptionbudget`,
];

describe('kube-score', () => {
  it.each([
    ['production', []],
    ['staging', []],
    [
      'development',
      [
        ...['dev-millrace-api', 'dev-millrace-worker'].flatMap((name) => [
          `${name}: deployment-has-poddisruptionbudget`,
          `${name}: deployment-replicas`,
        ]),
        ...single('dev-millrace-postgres'),
        ...single('dev-millrace-redis'),
        ...['backup', 'restore'].map(
          (name) => `dev-millrace-postgres-${name}: container-security-context-user-group-id`,
        ),
      ],
    ],
  ] as const)('finds in %s what is meant to be so, and nothing else', async (environment, meant) => {
    const { text } = await renderEnvironment(environment);
    expect(await findings(text)).toEqual([...meant].sort());
  });

  it('finds in components what is meant to be so, and nothing else', async () => {
    expect(await findings((await renderEverything()).text)).toEqual(
      [
        // It changes the node, which is what it is for.
        'gvisor-installer: container-security-context-privileged',
        'gvisor-installer: container-security-context-user-group-id',
        // KEDA says how many there are, and kube-score does not know its kind.
        'staging-millrace-worker: deployment-replicas',
        'staging-millrace-api-nodeport: service-type',
      ].sort(),
    );
    for (const renderOther of Object.values(OTHERS))
      expect(await findings((await renderOther()).text)).toEqual([]);
  });

  it('finds a container that may write to its root', async () => {
    const { text } = await renderEnvironment('production');
    const worse = text.replaceAll('readOnlyRootFilesystem: true', 'readOnlyRootFilesystem: false');
    expect(await findings(worse)).toContain(
      'prod-millrace-api: container-security-context-readonlyrootfilesystem',
    );
  });
});
