import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { API_KEY } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import { createSender, type Sent } from '../harness/load.ts';
import type { FaultRow, Scene } from '../harness/row.ts';
import { newTenant } from '../harness/tenant.ts';

const AT_ONCE = 50;
const ROUNDS = 5;
const SHARED_IDS = 20;

export const requestRows: readonly FaultRow[] = [
  {
    id: 'R25',
    fault: 'the same delivery 50 times at once',
    during: 'all 2xx, one `duplicate: false`',
    after: 'one execution',
    closedBy: 'the unique key in PostgreSQL: the loser of a concurrent insert reads the winner’s ids',
    run: repeatAtOnce,
  },
  {
    id: 'R27',
    fault: 'same id, other endpoint or tenant',
    during: '202 each',
    after: 'an execution for each',
    closedBy: 'the key of a delivery is (endpoint, id)',
    run: shareIds,
  },
  {
    id: 'R36',
    fault: 'bodies that storage or parsers stumble over',
    during: '202 or 400, never 5xx',
    after: 'when 202, the API returns identical bytes',
    closedBy: 'raw bodies are bytes; nothing of them goes through jsonb',
    run: sendOddBodies,
  },
];

/** Half of each round goes to one API and half to another, so that no memory of a process can help. */
async function repeatAtOnce({ stage, target, extra }: Scene): Promise<readonly string[]> {
  const other = await stage.startApi({ beside: true });
  const senders = [stage.api, other].map(({ port }) =>
    createSender({ origin: `http://127.0.0.1:${port}`, hook: target.hook }),
  );
  const rounds: Sent[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const id = randomUUID();
    rounds.push(
      await Promise.all(
        Array.from({ length: AT_ONCE }, (_, n) => senders[n % senders.length]!.send(id)), // both are there
      ),
    );
  }
  for (const sender of senders) await sender.close();
  await stage.end(other, 'SIGTERM');
  for (const sent of rounds) {
    assert.ok(sent.every(({ outcome }) => outcome === 'ok'));
    const first = sent.filter(({ duplicate }) => duplicate === false).length;
    assert.ok(first > 0, 'none of the same deliveries was the first');
    assert.equal(first, 1, `more than one of the same deliveries was taken for the first: ${first}`);
    assert.equal(new Set(sent.map(({ executionId }) => executionId)).size, 1);
  }
  extra.push(...rounds.flat());
  return [`${ROUNDS} deliveries, each ${AT_ONCE} times at once over 2 APIs: one execution each`];
}

async function shareIds({ stage, target, extra }: Scene): Promise<readonly string[]> {
  const neighbour = await stage.deploy(`${target.name}-neighbour`);
  const stranger = await stage.deploy(target.name, await newTenant(stage, target.name));
  const ids = Array.from({ length: SHARED_IDS }, () => randomUUID());
  const executions = new Set<string | undefined>();
  for (const { hook } of [target, neighbour, stranger]) {
    const sender = createSender({ origin: `http://127.0.0.1:${stage.api.port}`, hook });
    const sent = await Promise.all(ids.map((id) => sender.send(id)));
    await sender.close();
    if (hook === target.hook) extra.push(...sent);
    for (const { answer, duplicate, executionId } of sent) {
      assert.equal(answer, 202);
      assert.equal(duplicate, false);
      executions.add(executionId);
    }
  }
  assert.equal(executions.size, 3 * SHARED_IDS);
  await waitFor(
    async () => {
      const { rows } = await stage.sql.query<{ count: number; tenants: number }>(
        `select count(*)::int as count, count(distinct tenant_id)::int as tenants
         from execution where id = any($1) and state = 'succeeded'`,
        [[...executions]],
      );
      return rows[0]?.count === executions.size && rows[0].tenants === 2;
    },
    { timeoutMs: 30_000, intervalMs: 100, what: 'the executions of shared ids to succeed' },
  );
  return [`${SHARED_IDS} ids at 3 endpoints of 2 tenants: ${executions.size} executions succeeded`];
}

const ODD_BODIES: Readonly<Record<string, Buffer>> = {
  'NUL as an escape': Buffer.from('{"a":"\\u0000"}'),
  'a NUL byte': Buffer.from('{"a":"\0"}'),
  'a lone surrogate': Buffer.from('"\\ud800"'),
  'a lone surrogate as a name': Buffer.from('{"\\udfff":1}'),
  'invalid UTF-8': Buffer.from([0x22, 0xff, 0xfe, 0xc3, 0x28, 0x22]),
  'a byte order mark': Buffer.from('\ufeff{"a":1}'),
  '1e400': Buffer.from('{"a":1e400}'),
  '-1e400': Buffer.from('[-1e400]'),
  '2^53+1': Buffer.from('{"a":9007199254740993}'),
  'a long number': Buffer.from(`[${'9'.repeat(5000)}]`),
  'a name twice': Buffer.from('{"a":1,"a":2}'),
  'the name __proto__': Buffer.from('{"__proto__":{"a":1}}'),
  'no JSON': Buffer.from('{"a":'),
};

/** Each goes through the whole platform: a step looks at it, and the output holds it. */
async function sendOddBodies({ stage, target }: Scene): Promise<readonly string[]> {
  const { client } = stage;
  const { hook } = await client.deploy(`name: ${target.name}-odd
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: look, transform: { seen: "\${{ trigger.body }}" } }
  - { id: call, needs: [look], http: { method: POST, url: "${stage.ledger.url}/odd", body: "\${{ trigger.body }}" } }
output: steps.look.output
`);
  const told: string[] = [];
  for (const [name, body] of Object.entries(ODD_BODIES)) {
    const reply = await client.post(hook, body);
    assert.ok(reply.status === 202 || reply.status === 400, `${name}: ${reply.status} ${reply.text}`);
    if (reply.status === 400) {
      told.push(`${name} 400`);
      continue;
    }
    const { deliveryId, executionId } = reply.data as { deliveryId: string; executionId: string };
    const stored = await fetch(`${client.base}/api/v1/deliveries/${deliveryId}/body`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    assert.ok(Buffer.from(await stored.arrayBuffer()).equals(body), `${name}: other bytes came back`);
    const { state } = await client.finished(executionId);
    told.push(`${name} 202 (${state})`);
  }
  assert.ok(told.some((one) => one.includes('202')));
  return [`${told.join(', ')}; bytes identical`];
}
