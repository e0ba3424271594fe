import type { SandboxRecycleReason } from '../../../core/telemetry/reasons.ts';
import type { Sandbox, SandboxLimits } from '../driver.ts';
import type { Session } from '../session.ts';
import type { RunEnd, RunRequest, SandboxSlot } from '../types.ts';
import type { Entry } from './state.ts';

/** Slots that a sandbox is expected to have until it says so itself. */
const USUAL_SLOTS = 2;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A sandbox of the pool, from the decision to start it until its memory is free. */
export interface Member extends Writable<Entry> {
  /** Undefined while it starts. */
  session: Session | undefined;
  /** Undefined until its driver has begun to start it. */
  sandbox: Sandbox | undefined;
  /** Nobody waits for it. */
  isBackground: boolean;
  limits: SandboxLimits;
  executions: number;
  /** Started for a request, not taken from the spares: its first run is a miss. */
  isFresh: boolean;
  condemnedFor: SandboxRecycleReason | undefined;
}

export const createMember = (
  start: Pick<Entry, 'runtime' | 'cost' | 'owner' | 'isSingle'> & { readonly limits: SandboxLimits },
): Member => ({
  ...start,
  phase: 'starting',
  isCondemned: false,
  slots: USUAL_SLOTS,
  used: 0,
  idleSinceMs: 0,
  usedBeforeMs: 0,
  session: undefined,
  sandbox: undefined,
  isBackground: start.owner === undefined,
  executions: 0,
  isFresh: start.owner !== undefined,
  condemnedFor: undefined,
});

/** A place in `session` for one run; `onReleased` is called once, when nothing of it is left. */
export function createSlot(
  session: Session,
  isHit: boolean,
  events: { readonly onRunEnded: () => void; readonly onReleased: () => void },
): SandboxSlot {
  let state: 'free' | 'running' | 'ended' | 'released' = 'free';
  let isReleasedEarly = false;

  const ended = (): void => {
    state = 'ended';
    events.onRunEnded();
    if (isReleasedEarly) release();
  };
  const release = (): void => {
    if (state === 'running') {
      isReleasedEarly = true; // what still runs is not a neighbour for anybody
    } else if (state !== 'released') {
      state = 'released';
      events.onReleased();
    }
  };
  const run = async (request: RunRequest): Promise<RunEnd> => {
    if (state !== 'free') throw new Error(`a slot that is ${state} was used`);
    state = 'running';
    try {
      return await session.run(request);
    } finally {
      ended();
    }
  };
  return { isHit, run, release };
}
