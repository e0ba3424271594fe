import type { Queryable } from '../db/database.ts';
import { coerceError } from '../errors/app-error.ts';
import { isTerminal, type ExecutionState } from './status.ts';

/** What a caller that waited for an execution gets to see. The JSON texts are as they are stored. */
export interface ExecutionSnapshot {
  readonly id: string;
  readonly state: ExecutionState;
  /** What a `respond` step said. */
  readonly responseJson: string | null;
  readonly outputJson: string | null;
  readonly errorJson: string | null;
}

/**
 * Waits for an execution to end.
 *
 * @param untilMs by the database's clock
 * @param waitFor `answered`: what its `respond` step says is enough
 * @returns the execution as it is then; undefined when it had not ended in time, `signal` was aborted, or it does not exist
 */
export type WatchExecution = (
  tenantId: string,
  id: string,
  untilMs: number,
  signal: AbortSignal,
  waitFor: 'ended' | 'answered',
) => Promise<ExecutionSnapshot | undefined>;

export interface ExecutionWatcher {
  readonly watch: WatchExecution;
  stop(): void;
}

interface Watched {
  readonly id: string;
  readonly tenantId: string;
  readonly untilMs: number;
  readonly waitFor: 'ended' | 'answered';
  readonly resolve: (snapshot: ExecutionSnapshot | undefined) => void;
}

/** Somebody waits, so it is quick; one look serves all, so it is cheap. */
const LOOK_EVERY_MS = 15;

/**
 * One poller for all callers of this process that wait for executions: a single look-up by id for all of them, so that
 * it costs the database the same whether one caller waits or hundreds.
 *
 * @param db acts as a role that sees all tenants; a caller's tenant is compared here
 * @param now by the database's clock
 */
export function createExecutionWatcher(
  db: Queryable,
  now: () => number,
  onError: (error: Error) => void,
): ExecutionWatcher {
  const watched = new Set<Watched>();
  let timer: NodeJS.Timeout | undefined;

  const settle = (entry: Watched, snapshot: ExecutionSnapshot | undefined): void => {
    if (watched.delete(entry)) entry.resolve(snapshot);
  };

  const look = async (): Promise<void> => {
    const asked = [...watched];
    try {
      const snapshots = await readSnapshots(
        db,
        asked.map((entry) => entry.id),
      );
      for (const entry of asked) {
        const found = snapshots.get(entry.id);
        if (found === undefined || found.tenantId !== entry.tenantId) settle(entry, undefined);
        else if (isOver(entry, found.snapshot)) {
          settle(entry, found.snapshot);
        }
      }
    } catch (raw) {
      onError(coerceError(raw));
    }
    for (const entry of watched) if (now() >= entry.untilMs) settle(entry, undefined);
    timer = watched.size > 0 ? setTimeout(() => void look(), LOOK_EVERY_MS) : undefined;
  };

  return {
    watch: (tenantId, id, untilMs, signal, waitFor) =>
      new Promise((resolve) => {
        if (signal.aborted) {
          resolve(undefined);
          return;
        }
        const entry: Watched = { id, tenantId, untilMs, waitFor, resolve };
        watched.add(entry);
        signal.addEventListener('abort', () => settle(entry, undefined), { once: true });
        timer ??= setTimeout(() => void look(), LOOK_EVERY_MS);
      }),
    stop() {
      clearTimeout(timer);
      for (const entry of watched) settle(entry, undefined);
    },
  };
}

const isOver = ({ waitFor }: Watched, { state, responseJson }: ExecutionSnapshot): boolean =>
  isTerminal(state) || (waitFor === 'answered' && responseJson !== null);

async function readSnapshots(
  db: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, { readonly tenantId: string; readonly snapshot: ExecutionSnapshot }>> {
  const { rows } = await db.query<{
    id: string;
    tenant_id: string;
    state: ExecutionState;
    response: string | null;
    output: string | null;
    error: string | null;
  }>({
    name: 'watch-executions',
    text: `select id, tenant_id, state, response, output, error from execution where id = any($1::uuid[])`,
    values: [ids],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      {
        tenantId: row.tenant_id,
        snapshot: {
          id: row.id,
          state: row.state,
          responseJson: row.response,
          outputJson: row.output,
          errorJson: row.error,
        },
      },
    ]),
  );
}
