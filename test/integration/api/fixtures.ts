import { makeId } from '../../../src/core/db/ids.ts';
import { createIngest, type IncomingDelivery } from '../../../src/core/deliveries/ingest.ts';
import { claimByIds } from '../../../src/core/executions/claims.ts';
import { writeJournal, type JournalWrite } from '../../../src/core/executions/journal-store.ts';
import type { TestApi, TestTenant } from './harness.ts';

/** A workflow that a webhook without a check, and a manual start, begin. */
export const helloDefinition = (name: string, extra = ''): string => `name: ${name}
triggers:
  hook: { webhook: { verify: { scheme: none } } }
  manual: { manual: {} }
${extra}steps:
  - id: greet
    transform: '"hello " + string(trigger.body.name)'
  - id: shout
    needs: [greet]
    transform: steps.greet.output + "!"
output: steps.shout.output
`;

/** Deploys `helloDefinition` and gives what the API answered. */
export async function deployHello(tenant: TestTenant, name: string, extra = '') {
  const answer = await tenant.call('PUT', `/api/v1/workflows/${name}`, {
    definition: helloDefinition(name, extra),
  });
  if (answer.status >= 300) throw new Error(`${name} was not deployed: ${answer.text}`);
  return answer.data as {
    readonly version: number;
    readonly triggers: readonly { readonly endpointId: string }[];
  };
}

/** Starts an execution by hand; nobody runs it. */
export async function startHello(tenant: TestTenant, name: string, input: unknown = { name: 'mill' }) {
  const answer = await tenant.call('POST', `/api/v1/workflows/${name}/executions`, { input });
  if (answer.status !== 202) throw new Error(`${name} was not started: ${answer.text}`);
  return answer.data.executionId as string;
}

export type Outcome = Partial<Pick<JournalWrite, 'steps' | 'logs' | 'leaving'>>;

/** Does what a worker would: claims the execution and records what is given; gives the lease while it keeps it. */
export async function work(
  { engine }: TestApi,
  executionId: string,
  outcome: Outcome,
  heldLease?: string,
): Promise<string> {
  const leaseId = heldLease ?? (await claimByIds(engine, [executionId], [], 45_000)).claims[0]?.leaseId;
  if (leaseId === undefined) throw new Error(`${executionId} could not be claimed`);
  const [isMine] = await writeJournal(engine, [{ executionId, leaseId, steps: [], logs: [], ...outcome }]);
  if (!isMine) throw new Error(`${executionId} was not ours any more`);
  return leaseId;
}

const atMs = Date.UTC(2026, 0, 31, 12);

/** Runs `helloDefinition` to its end. */
export const succeed = (api: TestApi, executionId: string): Promise<string> =>
  work(api, executionId, {
    steps: [
      stepRow('greet', { state: 'succeeded', outputJson: '"hello mill"' }),
      stepRow('shout', { state: 'succeeded', outputJson: '"hello mill!"' }),
    ],
    leaving: { to: 'succeeded', outputJson: '"hello mill!"' },
  });

type StepRow = NonNullable<Outcome['steps']>[number];

export const stepRow = (stepId: string, rest: Pick<StepRow, 'state'> & Partial<StepRow>): StepRow => ({
  stepId,
  item: -1,
  attempt: 1,
  startedAtMs: atMs,
  finishedAtMs: atMs + 250,
  ...rest,
});

/** Records a delivery as the hooks route would; gives its id, and its execution's. */
export async function deliver(
  api: TestApi,
  tenant: TestTenant,
  endpointId: string,
  rest: Partial<IncomingDelivery> = {},
) {
  const { rows } = await api.admin.query<{ workflow_id: string; current_version: number }>(
    `select workflow_id, current_version from endpoint join workflow on workflow.id = workflow_id where endpoint.id = $1`,
    [endpointId],
  );
  const { workflow_id: workflowId, current_version: version } = rows[0]!; // the endpoint was deployed
  const verdict = rest.verdict ?? 'accepted';
  return createIngest({ db: api.ingest }).add({
    deliveryId: makeId(Date.now()),
    tenantId: tenant.id,
    workflowId,
    version,
    endpointId,
    triggerName: 'hook',
    verdict,
    executionId: verdict === 'accepted' ? makeId(Date.now()) : null,
    method: 'POST',
    query: 'a=1&b=2',
    headersJson: '{"content-type":"application/json","x-event":"push"}',
    body: Buffer.from('{"name":"mill"}'),
    ...rest,
  });
}
