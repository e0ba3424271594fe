import type { Runtime, SandboxLimits } from '../driver.ts';
import type { SandboxRequest } from '../types.ts';

const MIB = 1_048_576;
/** What a sandbox counts against the memory budget as long as nobody asked for more (DESIGN section 6). */
const USUAL_BYTES = 100 * MIB;

/**
 * - `starting`: not ready yet; with an owner when it was started for a request
 * - `spare`: ready, warmed, nobody's
 * - `kept`: of its owner, until it ends
 * - `ending`: told to end, or lost; its memory is not free yet
 */
export type Phase = 'starting' | 'spare' | 'kept' | 'ending';

/** Whose a sandbox is: what may never be shared, and what has to match for a request. */
export interface Owner {
  readonly tenantId: string;
  /** Tenant, workflow, version, runtime, limits and whether it is for one run alone. */
  readonly key: string;
}

/** What the pool knows of a sandbox when it decides. */
export interface Entry {
  readonly phase: Phase;
  readonly runtime: Runtime;
  /** Bytes of the budget. */
  readonly cost: number;
  readonly owner: Owner | undefined;
  /** Serves one run and ends. */
  readonly isSingle: boolean;
  /** Takes no more runs, and ends after those it has. */
  readonly isCondemned: boolean;
  readonly slots: number;
  readonly used: number;
  /** When its last run ended, or when it became ready. */
  readonly idleSinceMs: number;
  /** When the run before its last ended; 0 while it has run once at most. */
  readonly usedBeforeMs: number;
}

/** What a request wants, prepared for comparing. */
export interface Wish {
  readonly owner: Owner;
  readonly runtime: Runtime;
  readonly limits: SandboxLimits;
  readonly cost: number;
  readonly isSingle: boolean;
  /** Of a trace that is recorded. */
  readonly traceId?: string | undefined;
}

export interface PoolBounds {
  readonly budgetBytes: number;
  /** Sandboxes of one owner. */
  readonly maxPerOwner: number;
  /** Sandboxes that start at the same time. */
  readonly maxStarting: number;
  readonly spares: Readonly<Record<Runtime, SpareBounds>>;
}
export interface SpareBounds {
  readonly min: number;
  /** Kept while spares are being taken, and of those that were started and not wanted any more. */
  readonly max: number;
}

export const limitsKey = (limits: SandboxLimits): string =>
  `${limits.memoryBytes}/${limits.cpus}/${limits.pids}`;

/** Who asks for more than usual is expected to use it. */
export const costOf = (limits: SandboxLimits, usual: SandboxLimits): number =>
  limits.memoryBytes > usual.memoryBytes ? limits.memoryBytes : Math.min(limits.memoryBytes, USUAL_BYTES);

export function wishOf(request: SandboxRequest, usual: SandboxLimits): Wish {
  const { tenantId, workflowId, version, runtime, limits, traceId } = request;
  const isSingle = request.singleUse || request.alone;
  return {
    owner: {
      tenantId,
      key: JSON.stringify([tenantId, workflowId, version, runtime, limitsKey(limits), isSingle]),
    },
    runtime,
    limits,
    cost: costOf(limits, usual),
    isSingle,
    traceId,
  };
}
