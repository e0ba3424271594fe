import { one, type Queryable } from './database.ts';
import { PARTITIONED_TABLES, type PartitionedTable } from './partitions.ts';

export interface TableSize {
  readonly table: PartitionedTable;
  readonly partitions: number;
  /** Of all partitions, with indexes. */
  readonly bytes: number;
}

/** Asks the file system, so it is for once a minute. */
export async function databaseBytes(db: Queryable): Promise<number> {
  const { bytes } = one(
    await db.query<{ bytes: number }>(`select pg_database_size(current_database())::float8 as bytes`),
  );
  return bytes;
}

/** Asks the file system, so it is for once a minute. */
export async function tableSizes(db: Queryable): Promise<readonly TableSize[]> {
  const { rows } = await db.query<TableSize>(
    // The size of a partition that is dropped meanwhile is null.
    `select parent.relname::text as table, count(*)::int as partitions,
       coalesce(sum(pg_total_relation_size(inhrelid)), 0)::float8 as bytes
     from pg_inherits join pg_class parent on parent.oid = inhparent
     where parent.relkind = 'p' and parent.relname = any($1)
       and parent.relnamespace = (select relnamespace from pg_class where oid = 'execution'::regclass)
     group by parent.relname`,
    [PARTITIONED_TABLES],
  );
  return rows;
}
