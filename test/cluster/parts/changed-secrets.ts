import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { withApi } from '../harness/api.ts';
import type { Installation } from '../harness/installation.ts';
import { isReady, podsOf, type Kubectl, type Pod } from '../harness/kubectl.ts';
import { secretOf, type Values } from '../harness/secret.ts';
import type { Part } from './part.ts';

interface Container {
  readonly restartCount: number;
  readonly lastState?: { readonly terminated?: { readonly exitCode: number } };
}

/** With which a process ends that is to be started anew. */
const RESTART = 75;
const COMPONENTS = ['api', 'worker'] as const;
const CREDENTIAL = 'signing-key';

const workflow = (name: string): string => `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: sign, code: steps/sign.js, secrets: [${CREDENTIAL}] }
output: steps.sign.output
`;
/** Backwards, for what looks like a secret is not let out. */
const SIGN = `export default (ctx) => [...ctx.secrets['${CREDENTIAL}']].reverse().join('');\n`;
const backwards = (text: string): string => Array.from(text).reverse().join('');

/**
 * Changes secrets of an installation that is ready, and waits until its API and its workers use them: the API gives its
 * cursors another signature and seals with another key, which the worker has to know.
 *
 * @param change has the values get into the Secret, and does nothing more
 * @returns how many seconds it took
 */
export async function expectChangeToArrive(
  kubectl: Kubectl,
  installation: Installation,
  change: (values: Values) => Promise<void>,
): Promise<number> {
  const before = await secretOf(kubectl, installation);
  const random = (): string => randomBytes(32).toString('hex');
  const cursor = await withApi(kubectl, installation, async (client) => {
    await store(client, `before-${random()}`);
    for (const name of ['changed-secrets', 'changed-secrets-too']) {
      await client.deploy(workflow(name), { 'steps/sign.js': SIGN });
    }
    const page = await client.call('GET', '/api/v1/workflows?limit=1');
    expect((await nextPage(client, page.data.nextCursor as string)).status).toBe(200);
    return page.data.nextCursor as string;
  });
  const running = await containersOf(kubectl, installation);

  const startedAt = performance.now();
  await change({
    'jwt-secret': random(),
    // What is sealed can still be opened.
    'encryption-key': `${random()},${before['encryption-key']}`,
  });
  const isAnew = async (): Promise<boolean> => {
    const now = [...(await containersOf(kubectl, installation))];
    return now.every(
      ([uid, { restartCount, ready }]) => ready && restartCount !== running.get(uid)?.restartCount,
    );
  };
  await waitFor(isAnew, {
    timeoutMs: 240_000,
    intervalMs: 1000,
    what: 'API and worker to be started anew',
  }).catch(async (cause: unknown) => {
    const { 'jwt-secret': jwt, 'encryption-key': key } = await secretOf(kubectl, installation);
    const isChanged = jwt !== before['jwt-secret'] && key !== before['encryption-key'];
    throw new Error(
      `The Secret was ${isChanged ? '' : 'not '}changed; the processes say:\n${await lastWords(kubectl, installation)}`,
      { cause },
    );
  });
  const seconds = Math.round((performance.now() - startedAt) / 1000);

  // The same pods, which have been started once, by themselves.
  const now = await containersOf(kubectl, installation);
  expect([...now.keys()].toSorted()).toEqual([...running.keys()].toSorted());
  for (const [uid, { restartCount, exitCode }] of now) {
    expect([restartCount, exitCode]).toEqual([running.get(uid)!.restartCount + 1, RESTART]);
  }
  await withApi(kubectl, installation, async (client) => {
    const refused = await nextPage(client, cursor);
    expect([refused.status, refused.data.code]).toEqual([400, 'invalid_cursor']);
    const value = `after-${random()}`;
    await store(client, value);
    const { hook } = await client.deploy(workflow('changed-secrets'), { 'steps/sign.js': SIGN });
    const reply = await client.post(hook, {});
    expect(await client.finished(reply.data.executionId as string, 90_000)).toMatchObject({
      state: 'succeeded',
      output: backwards(value),
    });
  });
  // That was sealed with the new key.
  const resealed = await installation.command(
    `kubectl -n ${installation.namespace} exec deployment/${installation.prefix}-millrace-api -- millrace reseal`,
  );
  expect(resealed.stdout, resealed.stderr).toMatch(/^0 credential\(s\) were sealed anew; [1-9]/);
  return seconds;
}

const nextPage = (client: ApiClient, cursor: string) =>
  client.call('GET', `/api/v1/workflows?limit=1&cursor=${encodeURIComponent(cursor)}`);

async function store(client: ApiClient, value: string): Promise<void> {
  const { status, text } = await client.call('PUT', `/api/v1/credentials/${CREDENTIAL}`, {
    type: 'secret',
    data: { value },
  });
  expect([200, 201], text).toContain(status);
}

/** What their logs end with. */
async function lastWords(kubectl: Kubectl, { namespace }: Installation): Promise<string> {
  const selector = `component in (${COMPONENTS.join(',')})`;
  const args = ['logs', '--selector', selector, '--prefix', '--tail', '15'];
  return (await kubectl.try(['--namespace', namespace, ...args])).stdout;
}

interface Running {
  readonly restartCount: number;
  readonly exitCode: number | undefined;
  readonly ready: boolean;
}

/** The processes of the platform, by the uid of their pod. */
async function containersOf(
  kubectl: Kubectl,
  { namespace }: Installation,
): Promise<ReadonlyMap<string, Running>> {
  const pods: Pod[] = [];
  for (const component of COMPONENTS) {
    const found = await podsOf(kubectl, namespace, `app.kubernetes.io/component=${component}`);
    expect(found.length, component).toBeGreaterThan(0);
    pods.push(...found);
  }
  return new Map(
    pods.map((pod) => {
      const [container] = (pod.status.containerStatuses ?? []) as readonly Container[];
      return [
        pod.metadata.uid,
        {
          restartCount: container?.restartCount ?? 0,
          exitCode: container?.lastState?.terminated?.exitCode,
          ready: isReady(pod),
        },
      ];
    }),
  );
}

/** A Secret that somebody changes by hand, on an installation that is ready. */
export function describeChangedSecrets(
  { kubectl, report, isShort }: Part,
  installation: () => Installation,
): void {
  it('uses a changed Secret without being told', { timeout: 480_000 }, async () => {
    const { namespace, prefix } = installation();
    const inNamespace = (...args: readonly string[]): Promise<string> =>
      kubectl.run(['--namespace', namespace, ...args]);
    const seconds = await expectChangeToArrive(kubectl, installation(), async (values) => {
      const patch = JSON.stringify({ stringData: values });
      await inNamespace('patch', 'secret', `${prefix}-millrace-secrets`, '--patch', patch);
      // kubelet brings files up to date about once a minute, and with any change of their pod at once.
      const now = new Date().toISOString();
      if (isShort) await inNamespace('annotate', 'pods', '--all', '--overwrite', `test/changed=${now}`);
    });
    if (isShort) return;
    report.section('A changed Secret', [
      `API and worker of development had been started anew with it, and were ready, ${seconds} s after the change.`,
    ]);
  });
}
