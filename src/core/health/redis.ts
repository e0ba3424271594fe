import { Redis } from 'ioredis';
import { coerceError } from '../errors/app-error.ts';
import { failure, ok, warning, type Finding } from './finding.ts';

const TIMEOUT_MS = 2000;
/** BullMQ needs 6.2 for what it does with streams and lists: https://docs.bullmq.io/guide/redis-tm-compatibility */
const OLDEST_VERSION = [6, 2] as const;

/** What Redis says of itself, or why it says nothing. */
export interface RedisFacts {
  readonly version: string;
  readonly policy: string | undefined;
  readonly maxMemoryBytes: number;
  readonly usedMemoryBytes: number;
  readonly appendOnly: boolean;
  readonly isReplica: boolean;
}

/** @throws what ioredis says when it cannot be reached in time */
export async function readRedisFacts(url: string): Promise<RedisFacts> {
  const connection = new Redis(url, {
    lazyConnect: true,
    connectTimeout: TIMEOUT_MS,
    commandTimeout: TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let lastError: Error | undefined;
  connection.on('error', (raw: unknown) => (lastError = coerceError(raw)));
  try {
    await connection.connect();
    const info = await connection.info();
    const field = (name: string): string | undefined => new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1];
    return {
      version: field('redis_version') ?? '0',
      policy: field('maxmemory_policy'),
      maxMemoryBytes: Number(field('maxmemory') ?? 0),
      usedMemoryBytes: Number(field('used_memory') ?? 0),
      appendOnly: field('aof_enabled') === '1',
      isReplica: field('role') === 'slave',
    };
  } catch (raw) {
    throw lastError ?? coerceError(raw);
  } finally {
    connection.disconnect();
  }
}

/** Redis only carries hints, so all but an evicting one is no more than a warning. */
export function redisFindings(facts: RedisFacts): readonly Finding[] {
  const { version, policy, appendOnly } = facts;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor < OLDEST_VERSION[1]);
  return [
    isOld
      ? failure(
          'redis.version',
          `Redis ${version} is too old`,
          `${OLDEST_VERSION.join('.')} or newer is needed`,
        )
      : ok('redis.version', `Redis ${version}`),
    policyFinding(policy),
    facts.isReplica
      ? failure('redis.writable', 'it is a replica, which takes no writes', 'let REDIS_URL name the primary')
      : ok('redis.writable', 'it is a primary'),
    memoryFinding(facts),
    ok('redis.persistence', `appendonly is ${appendOnly ? 'on' : 'off'}; hints need no persistence`),
  ];
}

/** What a process refuses to start with (FAULTS R07). Undefined: a managed Redis that does not tell. */
export const policyFinding = (policy: string | undefined): Finding =>
  policy === undefined || policy === 'noeviction'
    ? ok('redis.maxmemory_policy', `maxmemory-policy is ${policy ?? 'not told'}`)
    : failure(
        'redis.maxmemory_policy',
        `Redis has maxmemory-policy ${policy}, which may evict hints and keys of the queue`,
        'set it to noeviction',
      );

const MIB = 1024 ** 2;

function memoryFinding({ maxMemoryBytes, usedMemoryBytes }: RedisFacts): Finding {
  const used = `${Math.ceil(usedMemoryBytes / MIB)} MiB are used`;
  if (maxMemoryBytes === 0) return ok('redis.memory', `${used}, maxmemory is not set`);
  const said = `${used} of ${Math.floor(maxMemoryBytes / MIB)} MiB`;
  return usedMemoryBytes > 0.9 * maxMemoryBytes
    ? warning('redis.memory', said, 'raise maxmemory, or find out what else is kept there')
    : ok('redis.memory', said);
}
