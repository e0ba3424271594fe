import type { FailureDetail, LogLevel, RunFailure } from '../../core/sandbox/protocol.ts';

/**
 * What the runner's main thread and a slot's thread say to each other. Several go in one `postMessage`, as waking a thread
 * is what costs. Runs are numbered within the runner: the nonces of the protocol never reach a slot. Bytes are ArrayBuffers; bytes.ts says why.
 */

export interface ProgramMessage {
  readonly type: 'program';
  readonly program: string;
  readonly entry: string;
  readonly source: ArrayBuffer;
  readonly codeCache: ArrayBuffer | undefined;
}

export interface RunMessage {
  readonly type: 'run';
  readonly run: number;
  readonly program: string;
  /** JSON of `RunPayload`. */
  readonly payload: ArrayBuffer;
  readonly maxOutputBytes: number;
  readonly maxLogBytes: number;
}

/** The worker's side of a fetch. */
export type FetchAnswer =
  | {
      readonly type: 'fetch_head';
      readonly run: number;
      readonly fetch: number;
      readonly status: number;
      readonly headers: readonly (readonly [string, string])[];
      readonly url: string;
      readonly redirected: boolean;
    }
  | { readonly type: 'fetch_data'; readonly run: number; readonly fetch: number; readonly bytes: ArrayBuffer }
  | { readonly type: 'fetch_end'; readonly run: number; readonly fetch: number }
  | {
      readonly type: 'fetch_failed';
      readonly run: number;
      readonly fetch: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly type: 'fetch_credit'; readonly run: number; readonly fetch: number; readonly bytes: number };

export type ToSlot =
  | ProgramMessage
  | { readonly type: 'forget'; readonly program: string }
  | RunMessage
  | { readonly type: 'abort'; readonly run: number }
  /** Now and then while it runs: is there memory left? */
  | { readonly type: 'check'; readonly run: number }
  | FetchAnswer;

/** The code's side of a fetch. */
export type FetchQuestion =
  | {
      readonly type: 'fetch';
      readonly run: number;
      readonly fetch: number;
      readonly target: string;
      readonly method: string;
      readonly headers: readonly (readonly [string, string])[];
      readonly hasBody: boolean;
      readonly redirect: 'follow' | 'manual' | 'error';
    }
  | { readonly type: 'fetch_data'; readonly run: number; readonly fetch: number; readonly bytes: ArrayBuffer }
  | { readonly type: 'fetch_end'; readonly run: number; readonly fetch: number }
  | { readonly type: 'fetch_abort'; readonly run: number; readonly fetch: number }
  | { readonly type: 'fetch_credit'; readonly run: number; readonly fetch: number; readonly bytes: number };

export interface Failure {
  readonly failure: RunFailure;
  readonly detail: FailureDetail;
}

/** How a run ended, as its slot sees it. */
export type RunOutcome =
  { readonly type: 'result'; readonly output: ArrayBuffer } | ({ readonly type: 'failed' } & Failure);

export type FromSlot =
  /** The slot takes work. */
  | { readonly type: 'started' }
  | { readonly type: 'loaded'; readonly program: string; readonly failed: Failure | undefined }
  /** The run has used up the heap. */
  | { readonly type: 'out_of_memory'; readonly run: number }
  | { readonly type: 'code_cache'; readonly program: string; readonly codeCache: ArrayBuffer }
  | { readonly type: 'log'; readonly run: number; readonly level: LogLevel; readonly text: ArrayBuffer }
  /** Further entries go to this ring, which the main thread reads when the run has ended, however it ended. */
  | { readonly type: 'log_tail'; readonly run: number; readonly ring: SharedArrayBuffer }
  | {
      readonly type: 'end';
      readonly run: number;
      readonly outcome: RunOutcome;
      /** The run left something behind that could not be stopped. */
      readonly replace: boolean;
    }
  | FetchQuestion;
