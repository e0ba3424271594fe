import { setTimeout as delay } from 'node:timers/promises';
import type { Installation } from '../platform/installation.ts';
import { runClosedLoop } from '../load/run-load.ts';
import type { TestProcesses } from '../../test/support/processes.ts';
import { requireRows } from './checks.ts';

const CONNECTIONS = 50;

/** Accepts about `count` webhooks while no worker runs; returns how many there are. */
export async function prepareBacklog(
  processes: TestProcesses,
  installation: Installation,
  url: string,
  count: number,
): Promise<number> {
  const { acceptedInAll } = await runClosedLoop(processes, {
    url,
    secret: installation.secret,
    connections: CONNECTIONS,
    load: { amount: count },
  });
  await requireRows(installation, acceptedInAll);
  return acceptedInAll;
}

/** Waits until no execution is left to run. @throws when nothing has ended for half a minute */
export async function untilDrained({ db }: Installation): Promise<void> {
  const STUCK_AFTER_MS = 30_000;
  let left = Infinity;
  let since = Date.now();
  for (;;) {
    const { rows } = await db.query<{ left: number }>(
      `select count(*)::int as left from execution where next_dispatch_at is not null`,
    );
    const now = rows[0]!.left; // an aggregate gives one row
    if (now === 0) return;
    if (now < left) {
      left = now;
      since = Date.now();
    } else if (Date.now() - since > STUCK_AFTER_MS) {
      throw new Error(`${left} executions are left, and none has ended for ${STUCK_AFTER_MS / 1000} s`);
    }
    await delay(500);
  }
}

/** A span in which the worker had more to do than it could. */
export interface BusyWindow {
  readonly fromMs: number;
  readonly toMs: number;
  readonly executions: number;
  readonly perSecond: number;
}

/** The share of all that has ended when a busy window closes. */
const UNTIL_SHARE = 0.97;

/**
 * Counts what ended from `warmUpMs` after `afterShare` of all had ended (0: after the first end) until nearly all had, so that
 * neither the start nor the last few executions count.
 */
export async function busyWindow(
  { db }: Installation,
  { warmUpMs = 0, afterShare = 0 }: { readonly warmUpMs?: number; readonly afterShare?: number },
): Promise<BusyWindow> {
  const { rows } = await db.query<{ from_ms: number; to_ms: number; count: number }>(
    `with ended as (select extract(epoch from finished_at)::float8 * 1000 as at from execution),
      span as (
        select percentile_disc($2) within group (order by at) + $1 as from_ms,
          percentile_disc($3) within group (order by at) as to_ms
        from ended
      )
    select from_ms, to_ms, (select count(*)::int from ended where at > from_ms and at <= to_ms) as count from span`,
    [warmUpMs, afterShare, UNTIL_SHARE],
  );
  const { from_ms: fromMs, to_ms: toMs, count } = rows[0]!; // aggregates give one row
  if (toMs - fromMs < 1000) throw new Error('the backlog was worked off before anything could be measured');
  return { fromMs, toMs, executions: count, perSecond: (count / (toMs - fromMs)) * 1000 };
}

export async function endedBetween({ db }: Installation, fromMs: number, toMs: number): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*)::int as count from execution
     where finished_at > to_timestamp($1 / 1000.0) and finished_at <= to_timestamp($2 / 1000.0)`,
    [fromMs, toMs],
  );
  return rows[0]!.count; // an aggregate gives one row
}
