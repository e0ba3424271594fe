import { DAY_MS, parseDuration } from '../definition/duration.ts';
import { parseAllowPrivate, type AllowPrivateEntry } from '../egress/addresses.ts';
import { integerKey, parsedKey } from './key.ts';
import { commonKeys, databaseKeys, limitKeys, redisKeys, sandboxLimitKeys, secretKeys } from './keys.ts';
import { tracingKeys } from './tracing-keys.ts';
import { sandboxKeys } from './sandbox-keys.ts';

/** All that the worker process reads. */
export const workerKeys = {
  ...commonKeys,
  ...databaseKeys,
  ...redisKeys,
  ...limitKeys,
  ...sandboxLimitKeys,
  ...sandboxKeys,
  ...secretKeys,
  ...tracingKeys,
  WORKER_PORT: integerKey('Port of the worker’s health and metrics; 0 takes a free one', {
    default: 8081,
    min: 0,
    max: 65_535,
  }),
  WORKER_CONCURRENCY: integerKey('Executions that a worker advances at once', {
    default: 10,
    min: 1,
    max: 1000,
  }),
  EGRESS_ALLOW_PRIVATE: parsedKey<readonly AllowPrivateEntry[]>(
    'Private addresses that steps may call, comma separated: host:port or CIDR',
    parseAllowPrivate,
    { default: '', defaultText: 'none' },
  ),
  LEASE_MS: integerKey('How long a worker may act on an execution without a heartbeat', {
    default: 45_000,
    min: 1000,
    max: 3_600_000,
  }),
  HEARTBEAT_MS: integerKey('How often a worker extends its leases; at most a third of LEASE_MS', {
    default: 10_000,
    min: 100,
    max: 600_000,
  }),
  POLL_MS: integerKey('How often a worker looks for due executions while hints are carried', {
    default: 15_000,
    min: 100,
    max: 600_000,
  }),
  POLL_WITHOUT_HINTS_MS: integerKey('The same while nothing carries hints', {
    default: 250,
    min: 10,
    max: 600_000,
  }),
  DEDUPE_WINDOW: parsedKey<number>(
    'How long a delivery’s id is remembered to recognise its repetition, e.g. 7d',
    (text) => {
      const ms = parseDuration(text);
      if (ms === undefined || ms < 60_000) throw new Error('must be a duration of at least 1m, such as 7d');
      return ms;
    },
    { default: '7d' },
  ),
  RETENTION: parsedKey<number | undefined>(
    'How long executions are kept with their steps, logs and deliveries, e.g. 90d: at least, and up to a sixth longer; what has not ended always stays. `off` keeps all',
    (text) => {
      if (text === 'off') return undefined;
      const ms = parseDuration(text);
      if (ms === undefined || ms < DAY_MS) {
        throw new Error('must be a duration of at least 1d, such as 30d, or off');
      }
      return ms;
    },
    { default: '30d' },
  ),
} as const;
