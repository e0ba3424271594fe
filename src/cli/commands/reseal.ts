import { dataDirectoryKeys } from '../config-keys.ts';
import { databaseKeys, secretKeys } from '../../core/config/keys.ts';
import { loadConfig } from '../../core/config/load.ts';
import { createCipher } from '../../core/credentials/cipher.ts';
import { resealCredentials, type ResealOutcome } from '../../core/credentials/reseal.ts';
import { openDatabase, type Database, type DatabaseRole } from '../../core/db/database.ts';
import { EXIT, type ExitCode } from '../cli-error.ts';
import { databasePlace, unreachableDatabase } from '../database-place.ts';
import { findEmbedded } from '../doctor/embedded.ts';
import { formatTable } from '../output.ts';
import { makeShow, type GlobalOptions, type Io } from '../session.ts';

/** `millrace reseal`: safe to repeat, and while everything runs. */
export async function resealStoredCredentials(io: Io, options: GlobalOptions): Promise<ExitCode> {
  const { MILLRACE_DATA_DIR } = loadConfig(dataDirectoryKeys, io.env);
  const isElsewhere = Boolean(io.env['DATABASE_URL'] || io.env['DATABASE_URL_FILE']);
  const embedded = isElsewhere ? undefined : await findEmbedded(MILLRACE_DATA_DIR, io.cwd, io.env);
  const config = loadConfig(
    {
      DATABASE_URL: databaseKeys.DATABASE_URL,
      DB_QUERY_TIMEOUT_MS: databaseKeys.DB_QUERY_TIMEOUT_MS,
      ...secretKeys,
    },
    embedded?.env ?? io.env,
  );
  const place = databasePlace(config.DATABASE_URL);
  io.say(`target: PostgreSQL at ${place}`);
  const open = (role: DatabaseRole): Database =>
    openDatabase({
      url: config.DATABASE_URL,
      role,
      name: 'millrace reseal',
      maxConnections: 1,
      queryTimeoutMs: config.DB_QUERY_TIMEOUT_MS,
      acquireTimeoutMs: config.DB_QUERY_TIMEOUT_MS,
      onError: () => undefined, // the queries tell
    });
  const [engineDb, apiDb] = [open('millrace_engine'), open('millrace_api')];
  try {
    const outcome = await resealCredentials({
      engineDb,
      apiDb,
      cipher: createCipher(config.ENCRYPTION_KEY),
    }).catch((raw: unknown) => {
      throw unreachableDatabase(place, raw);
    });
    makeShow(io, options.output, 2)(outcome, formatOutcome);
    return outcome.unreadable.length === 0 ? EXIT.ok : EXIT.failure;
  } finally {
    await Promise.all([engineDb.end(), apiDb.end()]);
  }
}

function formatOutcome({ resealed, current, unreadable }: ResealOutcome): string {
  const summary =
    `${resealed} credential(s) were sealed anew; ` +
    `${current} are sealed with the first key of ENCRYPTION_KEY now`;
  if (unreadable.length === 0) return `${summary}, and none with another.`;
  const rows = formatTable(unreadable, [
    { title: 'tenant', value: (row) => row.tenantId },
    { title: 'credential', value: (row) => row.name },
    { title: 'sealed with', value: (row) => row.keyId },
  ]);
  return `${summary}. No key of ENCRYPTION_KEY opens these; add theirs to it, or store them anew:\n\n${rows}`;
}
