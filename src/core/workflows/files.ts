import { createHash } from 'node:crypto';
import type { BuiltProgram } from '../bundle/programs.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import { isRecord, type JsonObject, type JsonValue } from '../json.ts';
import { z } from '../zod.ts';

/**
 * How the files and programs of a version are stored: small texts in its row, everything else once for each tenant in
 * `workflow_file`, by its hash.
 */

/** Texts up to this size are kept in the row of the version. */
const MAX_INLINE_BYTES = 16 * 1024;

const contentKey = z.string().regex(/^[0-9a-f]{64}$/);
/** What stands in a version's `files` for content that is kept elsewhere; an uploaded file never looks like it. */
const fileReference = z.strictObject({
  sha256: contentKey,
  bytes: z.int(),
  as: z.enum(['text', 'base64']),
});
type FileReference = z.output<typeof fileReference>;

const programReference = z.object({
  id: z.string(),
  runtime: z.enum(['javascript', 'python']),
  entry: z.string(),
  source: contentKey,
  map: contentKey.nullable(),
  wheels: z.array(z.object({ name: z.string(), sha256: contentKey, bytes: z.int() })).readonly(),
});
/** A program as a version's row has it: hashes for what is in `workflow_file`. */
export type ProgramReference = z.output<typeof programReference>;

/** Contents by their SHA-256, hex. */
export type Contents = ReadonlyMap<string, Uint8Array>;

export interface PackedVersion {
  /** For workflow_version.files. */
  readonly files: JsonObject;
  /** For workflow_version.programs. */
  readonly programs: JsonObject;
  /** For workflow_file. */
  readonly contents: Contents;
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Takes apart what a version consists of. @param files as they were uploaded */
export function packVersion(files: JsonObject, programs: ReadonlyMap<string, BuiltProgram>): PackedVersion {
  const contents = new Map<string, Uint8Array>();
  const keep = (bytes: Uint8Array): string => {
    const key = hashOf(bytes);
    contents.set(key, bytes);
    return key;
  };
  const packFile = (content: JsonValue): JsonValue => {
    if (typeof content === 'string') {
      if (Buffer.byteLength(content) <= MAX_INLINE_BYTES || !content.isWellFormed()) return content;
      const bytes = Buffer.from(content);
      return { sha256: keep(bytes), bytes: bytes.length, as: 'text' } satisfies FileReference;
    }
    const base64 = isRecord(content) ? content['base64'] : undefined;
    if (typeof base64 !== 'string') return content;
    const bytes = Buffer.from(base64, 'base64');
    // Only what comes out as it went in: the hash of a version is made of it.
    if (bytes.toString('base64') !== base64) return content;
    return { sha256: keep(bytes), bytes: bytes.length, as: 'base64' } satisfies FileReference;
  };
  return {
    files: mapValues(files, packFile),
    programs: Object.fromEntries([...programs].map(([file, program]) => [file, packProgram(program, keep)])),
    contents,
  };
}

const packProgram = (
  { id, runtime, entry, source, map, wheels }: BuiltProgram,
  keep: (bytes: Uint8Array) => string,
): ProgramReference => ({
  id,
  runtime,
  entry,
  source: keep(Buffer.from(source)),
  map: map === undefined ? null : keep(Buffer.from(map)),
  wheels: wheels.map(({ name, content }) => ({ name, sha256: keep(content), bytes: content.length })),
});

const mapValues = (object: JsonObject, map: (value: JsonValue) => JsonValue): JsonObject =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]));

/** The advisory lock on the contents of the tenant `$1`: shared to use them, exclusive to remove some. */
export const FILES_LOCK = `hashtext('workflow_file'), hashtext($1::text)`;

/** Stores contents that the tenant does not have yet. */
export async function insertContents(db: Queryable, tenantId: string, contents: Contents): Promise<void> {
  // In order of their keys, so that two that store the same wait for each other, not in a circle.
  const keys = [...contents.keys()].sort();
  if (keys.length === 0) return;
  // Until the version that needs them is committed, nobody removes what is there.
  await db.query(`select pg_advisory_xact_lock_shared(${FILES_LOCK})`, [tenantId]);
  const { rows } = await db.query<{ sha256: Buffer }>(
    `select sha256 from workflow_file where tenant_id = $1 and sha256 = any($2::bytea[])`,
    [tenantId, keys.map((key) => Buffer.from(key, 'hex'))],
  );
  const present = new Set(rows.map(({ sha256 }) => sha256.toString('hex')));
  for (const key of keys) {
    if (present.has(key)) continue;
    await db.query(
      `insert into workflow_file (tenant_id, sha256, content) values ($1, $2, $3) on conflict do nothing`,
      [tenantId, Buffer.from(key, 'hex'), contents.get(key)],
    );
  }
}

/** A content of the tenant's; undefined when there is none of that hash. */
export async function loadContent(db: Queryable, tenantId: string, key: string): Promise<Buffer | undefined> {
  const row = maybeOne(
    await db.query<{ content: Buffer }>({
      name: 'load-workflow-file',
      text: `select content from workflow_file where tenant_id = $1 and sha256 = $2`,
      values: [tenantId, Buffer.from(key, 'hex')],
    }),
  );
  return row?.content;
}

/** The files of a version as they were uploaded, from how its row has them. */
export async function unpackFiles(db: Queryable, tenantId: string, files: JsonObject): Promise<JsonObject> {
  const unpacked: [string, JsonValue][] = [];
  for (const [path, content] of Object.entries(files)) {
    const reference = asReference(content);
    if (reference === undefined) {
      unpacked.push([path, content]);
      continue;
    }
    const bytes = await loadContent(db, tenantId, reference.sha256);
    if (bytes === undefined) throw new Error(`the content ${reference.sha256} of ${path} is gone`);
    unpacked.push([
      path,
      reference.as === 'text' ? bytes.toString('utf8') : { base64: bytes.toString('base64') },
    ]);
  }
  return Object.fromEntries(unpacked);
}

/** What the files of a version are, without their content. */
export const summarizeFiles = (files: JsonObject): JsonObject =>
  mapValues(files, (content) => {
    const reference = asReference(content);
    if (reference !== undefined) return { sha256: reference.sha256, bytes: reference.bytes };
    const base64 = isRecord(content) ? content['base64'] : undefined;
    const bytes =
      typeof base64 === 'string'
        ? Buffer.from(base64, 'base64')
        : Buffer.from(typeof content === 'string' ? content : '');
    return { sha256: hashOf(bytes), bytes: bytes.length };
  });

const asReference = (content: JsonValue): FileReference | undefined =>
  isRecord(content) && 'sha256' in content ? fileReference.parse(content) : undefined;

export const parseProgramReference = (text: string): ProgramReference =>
  programReference.parse(JSON.parse(text));
