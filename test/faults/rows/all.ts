import type { FaultGroup } from '../harness/row.ts';
import { apiGroup } from './api.ts';
import { loadGroup } from './load.ts';
import { diskGroup, postgresGroup } from './postgres.ts';
import { absenceGroup } from './redis-absent.ts';
import { redisGroup } from './redis.ts';
import { replicationGroup } from './replication.ts';
import { poisonGroup } from './worker-poison.ts';
import { sandboxGroup } from './worker-sandboxes.ts';
import { stallGroup } from './worker-stalls.ts';
import { workerGroup } from './worker.ts';

/** The whole matrix, in the order in which it is run. */
export const GROUPS: readonly FaultGroup[] = [
  redisGroup,
  absenceGroup,
  workerGroup,
  poisonGroup,
  sandboxGroup,
  stallGroup,
  apiGroup,
  postgresGroup,
  replicationGroup,
  diskGroup,
  loadGroup,
];
