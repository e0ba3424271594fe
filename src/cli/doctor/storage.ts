import pg from 'pg';
import { createDatabaseClock } from '../../core/db/clock.ts';
import { checkSchema } from '../../core/db/migrate.ts';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import type { EncryptionKeys } from '../../core/credentials/cipher.ts';
import { clockFinding } from '../../core/health/clock.ts';
import { credentialFinding } from '../../core/health/credentials.ts';
import {
  durabilityFindings,
  partitionFinding,
  readDatabaseSettings,
  roleFinding,
  settingFindings,
  writableFinding,
  type PoolPlan,
} from '../../core/health/database.ts';
import { asFinding, failure, ok, skipped, warning, type Finding } from '../../core/health/finding.ts';
import { readRedisFacts, redisFindings } from '../../core/health/redis.ts';

const TIMEOUT_MS = 5000;

/** All that can be asked of the database; one connection, which is gone afterwards. */
export async function examineDatabase(
  url: string,
  pools: PoolPlan,
  keys: EncryptionKeys | undefined,
): Promise<readonly Finding[]> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'millrace doctor',
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  });
  client.on('error', () => undefined); // the queries tell
  const since = performance.now();
  try {
    await client.connect();
  } catch (raw) {
    return [unreachable(raw), skipped('database', 'nothing else can be asked of the database')];
  }
  const tookMs = Math.round(performance.now() - since);
  try {
    const settings = await readDatabaseSettings(client);
    const clock = createDatabaseClock(client);
    await clock.sync();
    const roles = await roleFinding(client);
    const migrations = await migrationFinding(client);
    if (roles.verdict === 'ok') await client.query('set role millrace_engine');
    const hasTables = roles.verdict === 'ok' && migrations.verdict === 'ok';
    return [
      ok('database.reachable', `PostgreSQL answers, the connection took ${tookMs} ms`),
      ...durabilityFindings(settings),
      writableFinding(settings),
      ...settingFindings(settings, pools),
      migrations,
      roles,
      hasTables ? await partitionFinding(client) : skipped('database.partitions', 'the schema comes first'),
      hasTables && keys !== undefined
        ? await credentialFinding(client, keys)
        : skipped('credentials', 'the schema and ENCRYPTION_KEY come first'),
      clockFinding(clock.skewMs()),
    ];
  } finally {
    await client.end();
  }
}

async function migrationFinding(client: pg.Client): Promise<Finding> {
  try {
    await checkSchema(client);
    return ok('database.migrations', 'the schema is that of this release, or one that it can work with');
  } catch (raw) {
    return asFinding('database.migrations', raw, 'run `millrace migrate`');
  }
}

/** By what Node and PostgreSQL call it: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOTFOUND: 'correct the host in DATABASE_URL, or the name servers',
  EAI_AGAIN: 'the name servers do not answer; try again, or mend /etc/resolv.conf',
  ECONNREFUSED: 'start PostgreSQL, or correct host and port in DATABASE_URL',
  ETIMEDOUT: 'let firewalls and network policies pass this machine to PostgreSQL’s port',
  '28P01': 'correct user and password in DATABASE_URL',
  '28000': 'let pg_hba.conf admit the user of DATABASE_URL from here',
  '3D000': 'create the database that DATABASE_URL names',
  '53300': 'PostgreSQL has no connection left: end some, or raise max_connections',
  '57P03': 'PostgreSQL is starting or stopping; try again in a moment',
};

/** Of OpenSSL, as Node passes them on: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** What to do where TLS does not come about; undefined when that is not the trouble. */
function tlsRemedy(code: string, key: string): string | undefined {
  if (UNTRUSTED.has(code)) {
    return `let NODE_EXTRA_CA_CERTS name a file with the certificate of the authority that vouches for the server of ${key}`;
  }
  if (code === 'CERT_HAS_EXPIRED') return 'renew the server’s certificate';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `let ${key} name the server as its certificate does`;
  }
  return undefined;
}

function unreachable(raw: unknown): Finding {
  const code = errorCodeOf(raw) ?? '';
  const message = coerceError(raw).message || code;
  const remedy =
    REMEDIES[code] ??
    tlsRemedy(code, 'DATABASE_URL') ??
    (/timeout/i.test(message) ? REMEDIES['ETIMEDOUT'] : undefined) ??
    'check DATABASE_URL and that the server runs';
  return failure('database.reachable', `PostgreSQL cannot be used: ${message}`, remedy);
}

/** Redis may be absent at any time, so that is a warning. */
export async function examineRedis(url: string | undefined): Promise<readonly Finding[]> {
  if (url === undefined)
    return [ok('redis', 'REDIS_URL is not set: workers find work by polling PostgreSQL')];
  try {
    return [ok('redis.reachable', 'Redis answers'), ...redisFindings(await readRedisFacts(url))];
  } catch (raw) {
    return [
      warning(
        'redis.reachable',
        `Redis cannot be used: ${coerceError(raw).message}; workers poll PostgreSQL instead`,
        tlsRemedy(errorCodeOf(raw) ?? '', 'REDIS_URL') ?? 'start Redis, or correct REDIS_URL',
      ),
    ];
  }
}
