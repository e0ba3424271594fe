import { loadConfig } from '../../core/config/load.ts';
import { databaseKeys } from '../../core/config/keys.ts';
import { migrate } from '../../core/db/migrate.ts';
import { EXIT, type ExitCode } from '../cli-error.ts';
import { databasePlace, unreachableDatabase } from '../database-place.ts';
import { formatTable } from '../output.ts';
import { makeShow, type GlobalOptions, type Io } from '../session.ts';

/** `millrace migrate`: safe to repeat, and to run several times at once. */
export async function migrateDatabase(io: Io, options: GlobalOptions): Promise<ExitCode> {
  const { DATABASE_URL } = loadConfig({ DATABASE_URL: databaseKeys.DATABASE_URL }, io.env);
  const place = databasePlace(DATABASE_URL);
  io.say(`target: PostgreSQL at ${place}`);
  const applied = await migrate(DATABASE_URL).catch((raw: unknown) => {
    throw unreachableDatabase(place, raw);
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
