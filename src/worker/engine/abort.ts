/**
 * Why an execution stops before its steps have ended.
 * - `fenced`: the lease is lost; nothing may be written
 * - `cancelled`: a user asked for it
 * - `timeout`: the execution's own time is over
 * - `drain`: this process is going away; another worker goes on
 */
export type AbortKind = 'fenced' | 'cancelled' | 'timeout' | 'drain';

export interface Abort {
  readonly kind: () => AbortKind | undefined;
  /** Aborted for any kind: what runs is to stop. */
  readonly signal: AbortSignal;
  /** Aborted when the lease is lost: writing is to stop. */
  readonly fenced: AbortSignal;
  abort(kind: AbortKind): void;
  /** Called once, when the first kind is set and when it becomes `fenced`. */
  onAbort(listener: () => void): void;
}

/** The first reason stays, except that a lost lease overrides all. */
export function createAbort(): Abort {
  const all = new AbortController();
  const fenced = new AbortController();
  const listeners: (() => void)[] = [];
  let kind: AbortKind | undefined;
  return {
    kind: () => kind,
    signal: all.signal,
    fenced: fenced.signal,
    abort(next) {
      if (kind === 'fenced' || (kind !== undefined && next !== 'fenced')) return;
      kind = next;
      all.abort(kind);
      if (next === 'fenced') fenced.abort(kind);
      for (const listener of listeners) listener();
    },
    onAbort: (listener) => void listeners.push(listener),
  };
}
