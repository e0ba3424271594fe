import type { JsonValue } from '../../core/json.ts';
import type { FailureDetail, LogLevel, RunFailure, RunPayload } from '../../core/sandbox/protocol.ts';
import type { Runtime, SandboxExit, SandboxLimits } from './driver.ts';

/** What a step runs, ready for a runner. */
export interface Program {
  /** Tells its content: equal ids, equal programs. */
  readonly id: string;
  readonly runtime: Runtime;
  readonly entry: string;
  /** JavaScript, or JSON of `PythonProgram`. */
  readonly source: Uint8Array;
  /** A folder of this machine with unpacked Python packages, and what tells its content. */
  readonly packages?: { readonly id: string; readonly folder: string };
}

/** A request of the author's code to the broker. Bodies flow as the other side takes them. */
export interface BrokerRequest {
  readonly target: string;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: AsyncIterable<Uint8Array> | undefined;
  readonly redirect: 'follow' | 'manual' | 'error';
  /** Aborted when the code loses interest, or the run ends. */
  readonly signal: AbortSignal;
}
export interface BrokerResponse {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly url: string;
  readonly redirected: boolean;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface RunRequest {
  readonly program: Program;
  readonly payload: RunPayload;
  readonly maxOutputBytes: number;
  readonly maxLogBytes: number;
  /** The memory limit of the sandbox, as far as it may be another than when the sandbox was started. */
  readonly memoryBytes?: number;
  readonly isolateProcess: boolean;
  /** Aborted when the step's time is over or the execution is to stop: the slot is ended, not its neighbours. */
  readonly signal: AbortSignal;
  /** Told when its time does not count, as no slot is free for it yet, and when it counts again; must not throw. */
  readonly onWaiting?: (isWaiting: boolean) => void;
  /** Called for each entry as it comes; must not throw. */
  readonly onLog: (level: LogLevel, text: string, truncated: boolean) => void;
  /** Answers `ctx.fetch`. @throws StepError, whose code and message the author's code sees */
  readonly fetch: (request: BrokerRequest) => Promise<BrokerResponse>;
}

/** How a run ended inside its sandbox. */
export type RunEnd =
  | { readonly type: 'result'; readonly output: JsonValue }
  | { readonly type: 'failed'; readonly failure: RunFailure; readonly detail: FailureDetail };

/** The sandbox ended while the run was in it. */
export class SandboxLostError extends Error {
  override readonly name = 'SandboxLostError';
  readonly code = 'sandbox_lost';
  readonly exit: SandboxExit;
  /** No other run was in it, so this one did it, if any did. */
  readonly wasAlone: boolean;

  constructor(exit: SandboxExit, wasAlone: boolean) {
    super(`the sandbox ended: ${exit.reason} (${exit.detail})`);
    this.exit = exit;
    this.wasAlone = wasAlone;
  }
}

/** Which sandboxes may serve a request (DESIGN section 6): those of this tenant and workflow version alone. */
export interface SandboxRequest {
  readonly tenantId: string;
  readonly workflowId: string;
  readonly version: number;
  readonly runtime: Runtime;
  readonly limits: SandboxLimits;
  /** Nobody else runs in it at the same time, and it is used only once. */
  readonly singleUse: boolean;
  /** Its run was in a sandbox that was lost: none may share one with it. */
  readonly alone: boolean;
  /** Aborted: no longer wanted. */
  readonly signal: AbortSignal;
  /** Of a trace that is recorded. */
  readonly traceId?: string | undefined;
}

/** A place in a sandbox for one run. */
export interface SandboxSlot {
  readonly isHit: boolean;
  /**
   * Runs a program, which is sent first where this sandbox does not have it yet. Once for each slot.
   *
   * @throws SandboxLostError; StepError for what `payload` or `program` make impossible
   */
  run(request: RunRequest): Promise<RunEnd>;
  /** Gives the place back. Idempotent; needed also when `run` was never called. */
  release(): void;
}

export interface SandboxPool {
  /** Waits for a place. @throws StepError `no_sandbox`; the signal's reason when it is aborted */
  claim(request: SandboxRequest): Promise<SandboxSlot>;
  /** Resolves when the first spares are ready, or there can be none; never rejects. */
  readonly warmed: Promise<void>;
  close(): Promise<void>;
}
