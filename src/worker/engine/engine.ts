import { createBatcher } from '../../core/batcher.ts';
import type { Database } from '../../core/db/database.ts';
import type { CompiledWorkflow } from '../../core/definition/types.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import {
  claimByIds,
  claimDue,
  type Claim,
  type ClaimResult,
  type TenantQuota,
} from '../../core/executions/claims.ts';
import type { PassFailpoint } from '../../core/failpoints.ts';
import { readJournal } from '../../core/executions/journal-store.ts';
import { traceIdOf } from '../../core/telemetry/traceparent.ts';
import { detached, within, type Span } from '../../core/telemetry/tracing.ts';
import type { Slots } from '../slots.ts';
import { createAbort, type Abort } from './abort.ts';
import type { LeaseKeeper } from './leases.ts';
import { observeEnd, observeGivenUp, observeInternalFailure, type OutcomeDeps } from './outcomes.ts';
import type { RunDeps } from './run.ts';
import { runExecution, type RunResult } from './run-execution.ts';
import { nameRunSpan, openRunSpan, type ClaimTimes } from './spans.ts';
import { sortSuspects } from './suspects.ts';

export interface EngineDeps extends Omit<RunDeps, 'standAside' | 'label' | 'span' | 'metrics'>, OutcomeDeps {
  /** Claims: losing one in a crash of PostgreSQL is harmless. */
  readonly claimDb: Database;
  readonly db: Database;
  readonly leases: LeaseKeeper;
  readonly leaseMs: number;
  readonly slots: Slots;
  /** The compiled version, or undefined when this release does not know its format. */
  readonly loadWorkflow: (workflowId: string, version: number) => Promise<CompiledWorkflow | undefined>;
  /** An execution will be due again at this time, by the database's clock. */
  readonly onWaiting: (dueAtMs: number) => void;
  /** A slot became free. */
  readonly onFree: () => void;
  /** A hint was dropped, for want of a slot or because its tenant has its share: the execution is still due. */
  readonly onPassedOver: () => void;
  /** A lease was given up before its execution ended: another worker may go on with it. */
  readonly onReleased: (claim: Claim) => void;
  readonly passFailpoint: PassFailpoint;
}

export interface Engine {
  /** Claims the execution that a hint names, when a slot is or becomes free soon; resolves when that is decided. */
  readonly offer: (executionId: string) => Promise<void>;
  /** Claims due executions and starts them; returns how many. */
  claimDue(quotas: readonly TenantQuota[]): Promise<number>;
  /** Slots that nothing runs in and no claim under way may need. */
  free(): number;
  /** Waits for running executions, and gives up the leases of those that are left early enough to be done in `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

/** How long a hint waits for a free slot; then it is dropped, and the dispatcher finds the execution. */
const HINT_PATIENCE_MS = 500;
const UNKNOWN_FORMAT_PAUSE_MS = 30_000;
const LOAD_FAILED_PAUSE_MS = 1000;
/** How long an execution that may end workers waits for another one of its kind to have run. */
const SUSPECT_PAUSE_MS = 500;
/** What ending the attempts and recording the release may take of the grace. */
const RELEASE_MS = 5000;

/** Runs claimed executions in slots. */
export function createEngine(deps: EngineDeps): Engine {
  const { slots } = deps;
  const running = new Map<string, { readonly abort: Abort; readonly done: Promise<void> }>();
  let runsSuspect = false;
  let reserved = 0;
  let draining = false;
  let slotWaiters: (() => void)[] = [];

  const free = (): number => Math.max(0, slots.free() - reserved);
  const slotFreed = (): void => {
    deps.metrics.activeExecutions.set(slots.active());
    slotWaiters.shift()?.();
    deps.onFree();
  };
  const standAside: RunDeps['standAside'] = (tenantId, bytes) => {
    const comeBack = slots.standAside(tenantId, bytes);
    if (comeBack !== undefined) slotFreed();
    return comeBack;
  };

  const start = (claim: Claim, times: ClaimTimes, work: Work): Promise<void> => {
    slots.take(claim.tenantId);
    const abort = createAbort();
    const run = (): Promise<void> => runClaim({ ...deps, standAside }, claim, times, abort, work);
    const done = detached(deps.tracing, run).finally(() => {
      running.delete(claim.leaseId);
      slots.release(claim.tenantId);
      slotFreed();
    });
    running.set(claim.leaseId, { abort, done });
    deps.metrics.activeExecutions.set(slots.active());
    if (draining) abort.abort('drain');
    return done;
  };

  const startAll = (claims: readonly Claim[], times: ClaimTimes): void => {
    const { clear, suspect, sentBack } = sortSuspects(claims, !runsSuspect);
    for (const claim of clear) void start(claim, times, advanceClaim);
    const released = Promise.all(sentBack.map((claim) => start(claim, times, sendBack)));
    if (suspect === undefined) return;
    runsSuspect = true;
    const work: Work = async (...run) => {
      await released;
      return advanceClaim(...run);
    };
    void start(suspect, times, work).finally(() => (runsSuspect = false));
  };

  const takeIn = (result: ClaimResult, claimedAtMs: number): void => {
    if (result.lostLeases > 0) deps.metrics.leaseLosses.inc({ side: 'taken_over' }, result.lostLeases);
    if (result.gaveUp.length > 0) {
      deps.logger.error(
        { executionIds: result.gaveUp.map(({ id }) => id) },
        'executions were given up: they lost too many leases',
      );
      void observeGivenUp(deps, result.gaveUp);
    }
    if (result.claims.length > 0) deps.passFailpoint('worker.after-claim');
    startAll(result.claims, { sentAtMs: claimedAtMs, madeAtMs: deps.leases.monotonicMs() });
  };

  const hinted = createBatcher<string, undefined>({
    maxItems: 100,
    flush: async (ids) => {
      deps.passFailpoint('worker.before-claim');
      const claimedAtMs = deps.leases.monotonicMs();
      const excluded = slots.tenantsAtShare();
      const result = await detached(deps.tracing, () =>
        claimByIds(deps.claimDb, ids, excluded, deps.leaseMs),
      );
      takeIn(result, claimedAtMs);
      if (excluded.length > 0 && result.claims.length < ids.length) deps.onPassedOver();
      return ids.map(() => undefined);
    },
  });

  const waitForSlot = (): Promise<void> =>
    new Promise((resolve) => {
      const waiter = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        slotWaiters = slotWaiters.filter((other) => other !== waiter);
        resolve();
      }, HINT_PATIENCE_MS);
      slotWaiters.push(waiter);
    });

  const reserveWhile = async <T>(count: number, work: () => Promise<T>): Promise<T> => {
    reserved += count;
    try {
      return await work();
    } finally {
      reserved -= count;
    }
  };

  return {
    free,
    async offer(executionId) {
      if (!draining && free() === 0) await waitForSlot();
      if (draining) return;
      if (free() === 0) {
        deps.onPassedOver();
        return;
      }
      await reserveWhile(1, () => hinted.add(executionId)).catch((raw: unknown) =>
        deps.logger.warn({ err: coerceError(raw) }, 'a claim failed'),
      );
    },
    async claimDue(quotas) {
      const total = quotas.reduce((sum, quota) => sum + quota.limit, 0);
      return reserveWhile(total, async () => {
        const claimedAtMs = deps.leases.monotonicMs();
        const result = await detached(deps.tracing, () => claimDue(deps.claimDb, quotas, deps.leaseMs));
        takeIn(result, claimedAtMs);
        return result.claims.length + result.gaveUp.length;
      });
    },
    async drain(graceMs) {
      draining = true;
      const patienceMs = Math.max(graceMs - RELEASE_MS, graceMs / 2);
      for (const wake of slotWaiters.splice(0)) wake();
      const all = (): Promise<unknown> => Promise.all([...running.values()].map((run) => run.done));
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise((resolve) => (timer = setTimeout(resolve, patienceMs)));
      await Promise.race([all(), patience]);
      clearTimeout(timer);
      for (const { abort } of running.values()) abort.abort('drain');
      await all();
    },
  };
}

type WorkDeps = EngineDeps & Omit<RunDeps, 'label'>;

/** What is done with a claim while its lease is kept. */
type Work = (deps: WorkDeps, claim: Claim, abort: Abort) => Promise<RunResult>;

/** Runs one claimed execution to wherever it gets. Never rejects. */
async function runClaim(
  deps: EngineDeps & Pick<RunDeps, 'standAside'>,
  claim: Claim,
  times: ClaimTimes,
  abort: Abort,
  work: Work,
): Promise<void> {
  const span = openRunSpan(deps, claim, times);
  const logger = deps.logger.child(identityOf(claim));
  if (claim.dispatchNumber === 1) {
    const seconds = Math.max(0, claim.startedAtMs - claim.createdAtMs) / 1000;
    deps.metrics.executionStartDelay.observe({}, seconds, span?.traceId);
  }
  deps.leases.hold(
    {
      executionId: claim.id,
      leaseId: claim.leaseId,
      onLost: () => abort.abort('fenced'),
      onCancelRequested: () => abort.abort('cancelled'),
    },
    times.sentAtMs,
  );
  try {
    const result = await within(span, () => work({ ...deps, logger, span }, claim, abort));
    if (result.type === 'waiting') deps.onWaiting(result.dueAtMs);
    if (result.type === 'released') deps.onReleased(claim);
    if (result.type === 'fenced')
      logger.warn({ leaseId: claim.leaseId }, 'fenced: the lease is lost, nothing was written');
    span?.set({ 'execution.left': result.type });
  } catch (raw) {
    logger.error({ err: coerceError(raw) }, 'an execution failed inside the platform');
    await recordInternalFailure({ ...deps, logger }, claim, abort, span).catch((error: unknown) =>
      logger.error({ err: coerceError(error) }, 'its failure could not be recorded; its lease will run out'),
    );
  } finally {
    deps.leases.letGo(claim.id);
    span?.end();
  }
}

/** What every line about an execution says. */
function identityOf({ id, traceparent }: Claim): { readonly executionId: string; readonly traceId?: string } {
  const traceId = traceIdOf(traceparent);
  return traceId === undefined ? { executionId: id } : { executionId: id, traceId };
}

async function advanceClaim(deps: WorkDeps, claim: Claim, abort: Abort): Promise<RunResult> {
  let workflow;
  let tenant;
  let rows;
  try {
    [workflow, tenant] = await Promise.all([
      deps.loadWorkflow(claim.workflowId, claim.version),
      deps.tenantName(claim.tenantId),
    ]);
    rows = claim.hasJournal ? await readJournal(deps.db, claim.id) : [];
  } catch (raw) {
    // Not the execution's fault: another try, here or elsewhere, may find the database well again.
    deps.logger.warn({ err: coerceError(raw) }, 'an execution could not be loaded');
    return release(deps, claim, abort, LOAD_FAILED_PAUSE_MS);
  }
  if (workflow === undefined) return release(deps, claim, abort, UNKNOWN_FORMAT_PAUSE_MS);
  const label = deps.metrics.workflows.note(tenant, workflow.name);
  nameRunSpan(deps.span, workflow);
  const timer = setTimeout(
    () => abort.abort('timeout'),
    Math.min(Math.max(0, workflow.timeoutMs - claim.activeMs), 2 ** 31 - 1),
  );
  try {
    const result = await runExecution({ ...deps, label }, claim, workflow, rows, abort);
    if (result.type === 'ended') observeEnd(deps, claim, label, result, deps.span);
    return result;
  } finally {
    clearTimeout(timer);
  }
}

const sendBack: Work = async (deps, claim, abort) => {
  const result = await release(deps, claim, abort, SUSPECT_PAUSE_MS);
  deps.onWaiting(deps.now() + SUSPECT_PAUSE_MS);
  return result;
};

async function release(deps: EngineDeps, claim: Claim, abort: Abort, delayMs: number): Promise<RunResult> {
  const written = await deps.journal.write(
    {
      executionId: claim.id,
      leaseId: claim.leaseId,
      steps: [],
      logs: [],
      leaving: { to: 'queued', delayMs },
    },
    abort.fenced,
  );
  return written ? { type: 'released' } : { type: 'fenced' };
}

/** Be very careful about what can throw here: it is what keeps a bug of ours from being retried for ever. */
async function recordInternalFailure(
  deps: EngineDeps,
  claim: Claim,
  abort: Abort,
  span: Span | undefined,
): Promise<void> {
  const message = 'The execution failed inside the platform; the worker’s log has the reason';
  const written = await deps.journal.write(
    {
      executionId: claim.id,
      leaseId: claim.leaseId,
      steps: [],
      logs: [],
      leaving: { to: 'failed', error: { code: 'internal_error', message } },
    },
    abort.fenced,
  );
  if (written) await observeInternalFailure(deps, claim, span);
}
