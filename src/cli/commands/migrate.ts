import { loadConfig } from '../../core/config/load.ts';
import { databaseKeys } from '../../core/config/keys.ts';
import { migrate } from '../../core/db/migrate.ts';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import { CliError, EXIT, type ExitCode } from '../cli-error.ts';
import { formatTable } from '../output.ts';
import { makeShow, type GlobalOptions, type Io } from '../session.ts';

/** `millrace migrate`: safe to repeat, and to run several times at once. */
export async function migrateDatabase(io: Io, options: GlobalOptions): Promise<ExitCode> {
  const { DATABASE_URL } = loadConfig({ DATABASE_URL: databaseKeys.DATABASE_URL }, io.env);
  const place = placeOf(DATABASE_URL);
  io.say(`target: PostgreSQL at ${place}`);
  const applied = await migrate(DATABASE_URL).catch((raw: unknown) => {
    throw unreachable(place, raw);
  });
  makeShow(
    io,
    options.output,
    2,
  )(
    applied.map(({ version, name }) => ({ version, name })),
    (rows) =>
      rows.length === 0
        ? 'The schema is up to date.'
        : formatTable(rows, [
            { title: 'version', value: (row) => row.version },
            { title: 'applied', value: (row) => row.name },
          ]),
  );
  return EXIT.ok;
}

/** Host, port and database, without the password. */
function placeOf(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  return `${url.hostname || url.searchParams.get('host') || 'localhost'}:${url.port || '5432'}${url.pathname}`;
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'ENOENT',
]);

/** A connection that fails, or is refused by PostgreSQL (classes 08, 28 and 3D), is the caller's to mend: no stack. */
function unreachable(place: string, raw: unknown): unknown {
  const code = errorCodeOf(raw) ?? '';
  if (!UNREACHABLE.has(code) && !/^(08|28|3D)...$/.test(code)) return raw;
  const reason = coerceError(raw).message || code;
  return new CliError(
    `PostgreSQL at ${place} cannot be used: ${reason}. Check DATABASE_URL and that the server runs.`,
    {
      cause: raw,
    },
  );
}
