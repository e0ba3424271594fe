import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { check, type Counts } from './checker.ts';
import { createSender, startLoad, type Load, type Sent } from './load.ts';
import type { Stage, StageOptions, Target } from './stage.ts';

/** What a row has in hand: the stage, and a steady load on a workflow of its own. */
export interface Scene {
  readonly stage: Stage;
  readonly load: Load;
  readonly target: Target;
  /** What is sent beside the load, for the checker to know of. */
  readonly extra: Sent[];
}

/** One row of the matrix. */
export interface FaultRow {
  readonly id: `${'R' | 'L'}${string}`;
  /** The fault, what it must do to senders, and what must hold afterwards: the words of docs/guarantees.md. */
  readonly fault: string;
  readonly during: string;
  readonly after: string;
  /** What closes it, in a few words. */
  readonly closedBy: string;
  /** Webhooks a second; 200 unless said. */
  readonly perSecond?: number;
  /** The executions have ended this long after healing; 120 s unless said. */
  readonly boundMs?: number;
  /** Of the whole row; 120 s unless said. */
  readonly timeoutMs?: number;
  /** Some executions are meant to fail. */
  readonly mayFail?: boolean;
  /**
   * The database loses what it had not flushed: claims, which are written without waiting for the disk. What ran under such
   * a claim was cut off, though nothing in the database says so.
   */
  readonly claimsMayVanish?: boolean;
  /**
   * Breaks something, looks at what happens meanwhile, and heals it.
   *
   * @returns the evidence that the fault happened, each in a few words with its figures
   * @throws AssertionError when the fault did not happen, or did what it must not
   */
  run(scene: Scene): Promise<readonly string[]>;
}

/** Rows that share a stage. */
export interface FaultGroup {
  readonly name: string;
  readonly stage: StageOptions;
  readonly rows: readonly FaultRow[];
}

export interface RowResult {
  readonly id: string;
  readonly evidence: readonly string[];
  readonly counts: Counts;
  readonly tookMs: number;
}

const STEADY_MS = 1500;
const TAIL = 20;

/** Runs one row: load, fault, healing, tail, quiet, checker. @throws AssertionError when anything does not hold */
export async function runRow(row: FaultRow, stage: Stage): Promise<RowResult> {
  const startedAt = performance.now();
  const target = await stage.deploy(`${row.id.toLowerCase()}-${randomUUID().slice(0, 8)}`);
  const origin = `http://127.0.0.1:${stage.api.port}`;
  const load = startLoad({ origin, hook: target.hook, perSecond: row.perSecond ?? 200 });
  const extra: Sent[] = [];
  let evidence: readonly string[];
  try {
    await delay(STEADY_MS);
    evidence = await row.run({ stage, load, target, extra });
    await delay(STEADY_MS);
  } finally {
    await load.stop();
  }
  assert.ok(evidence.length > 0, 'a row has to show that its fault happened');
  const tail = await sendTail(origin, target);
  const counts = await check({
    sql: stage.sql,
    ledger: stage.ledger,
    endpointId: target.endpointId,
    path: target.path,
    stepsEach: target.stepsEach,
    sent: [...load.sent, ...extra, ...tail],
    boundMs: row.boundMs ?? 120_000,
    mayFail: row.mayFail ?? false,
    claimsMayVanish: row.claimsMayVanish ?? false,
  });
  const result = { id: row.id, evidence, counts, tookMs: performance.now() - startedAt };
  await report(row, result);
  return result;
}

/** The last requests after healing are all accepted, or something is still broken. */
async function sendTail(origin: string, target: Target): Promise<readonly Sent[]> {
  const sender = createSender({ origin, hook: target.hook });
  const tail: Sent[] = [];
  for (let n = 0; n < TAIL; n++) tail.push(await sender.send(randomUUID()));
  await sender.close();
  assert.deepEqual(
    tail.map(({ answer }) => answer),
    Array.from({ length: TAIL }, () => 202),
    'the last requests after healing',
  );
  return tail;
}

/** One line for a reader, and one as JSON for the table of docs/guarantees.md. */
async function report(row: FaultRow, result: RowResult): Promise<void> {
  const { ok, fail, info, lost, phantom, duplicates, stuck, reRun, strayCalls } = result.counts;
  const { repeatedInFlight, lostLeases } = result.counts;
  console.log(
    `${row.id} ${row.fault}: ok ${ok}, fail ${fail}, info ${info}; lost ${lost}, phantom ${phantom}, duplicates ${duplicates}, ` +
      `stuck ${stuck}, re-run ${reRun}, stray calls ${strayCalls}; repeated in flight ${repeatedInFlight}, leases lost ${lostLeases}; ${result.evidence.join('; ')}`,
  );
  const file = process.env['FAULTS_REPORT'];
  if (file !== undefined) await appendFile(file, `${JSON.stringify(result)}\n`);
}
