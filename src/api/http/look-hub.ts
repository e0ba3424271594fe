import type pg from 'pg';
import { withTenant, type Database } from '../../core/db/database.ts';
import { appError, coerceError } from '../../core/errors/app-error.ts';
import type { Standing } from '../../core/executions/changes.ts';
import { readStandings } from '../../core/executions/standing.ts';

/** Somebody who follows an execution. */
export interface Follower {
  readonly tenantId: string;
  readonly executionId: string;
  /**
   * Called every so often, one after another, with where the execution stands; undefined when it is gone. It may query,
   * within the tenant.
   */
  readonly onLook: (standing: Standing | undefined, db: pg.PoolClient) => Promise<void> | void;
}

export interface LookHub {
  /**
   * Looks on behalf of a follower until the returned function is called.
   *
   * @throws AppError `unavailable` when there are as many followers as this process takes
   */
  follow(follower: Follower): () => void;
}

export interface LookHubOptions {
  readonly db: Database;
  readonly maxFollowers: number;
  readonly onError: (error: Error) => void;
  readonly intervalMs?: number;
}

/**
 * One poller for all streams of this process: each look is one transaction a tenant, however many follow, and the next
 * one begins only after it, so that a slow database is asked less often. Without followers it does nothing.
 */
export function createLookHub(options: LookHubOptions): LookHub {
  const { db, maxFollowers, intervalMs = 500 } = options;
  const followers = new Set<Follower>();
  let timer: NodeJS.Timeout | undefined;

  const lookForTenant = (tenantId: string, group: readonly Follower[]): Promise<void> =>
    withTenant(db, tenantId, async (client) => {
      const standings = await readStandings(client, [
        ...new Set(group.map(({ executionId }) => executionId)),
      ]);
      for (const follower of group) {
        if (followers.has(follower)) await follower.onLook(standings.get(follower.executionId), client);
      }
    });

  const look = async (): Promise<void> => {
    for (const [tenantId, group] of Map.groupBy(followers, (follower) => follower.tenantId)) {
      try {
        await lookForTenant(tenantId, group);
      } catch (raw) {
        // They follow on: the next look may reach the database again.
        options.onError(coerceError(raw));
      }
    }
    timer = followers.size > 0 ? setTimeout(() => void look(), intervalMs) : undefined;
  };

  return {
    follow(follower) {
      if (followers.size >= maxFollowers) throw appError('unavailable', { args: [10], retryAfterS: 10 });
      followers.add(follower);
      timer ??= setTimeout(() => void look(), 0);
      return () => void followers.delete(follower);
    },
  };
}
