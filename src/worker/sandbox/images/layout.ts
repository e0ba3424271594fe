import { createHash } from 'node:crypto';
import { createReadStream, type ReadStream } from 'node:fs';
import { lstat, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { z } from '../../../core/zod.ts';
import { invalidImage } from './invalid-image.ts';

/**
 * Folders of images as github.com/opencontainers/image-spec has them (image-layout.md): `oci-layout`, `index.json`, and
 * every blob in a file named by its digest. What Docker calls the same things is taken, too.
 */

const digestField = z.string().regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);
const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: digestField,
  size: z.int().min(0),
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
/** Names a blob. */
export type Descriptor = z.output<typeof descriptorSchema>;

const MAX_MANIFESTS = 10_000;
/** Docker itself allows 127. */
const MAX_LAYERS = 200;

export const indexSchema = z.object({
  schemaVersion: z.literal(2),
  manifests: z.array(descriptorSchema).max(MAX_MANIFESTS),
});
export type ImageIndex = z.output<typeof indexSchema>;

export const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(MAX_LAYERS),
});
export type ImageManifest = z.output<typeof manifestSchema>;

const texts = z.array(z.string()).nullish();
export const configSchema = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z
    .object({
      User: z.string().nullish(),
      Env: texts,
      Entrypoint: texts,
      Cmd: texts,
      WorkingDir: z.string().nullish(),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digestField).max(MAX_LAYERS) }),
});
export type ImageConfig = z.output<typeof configSchema>;

/** Of documents; layers are read piece by piece. */
const MAX_DOCUMENT_BYTES = 4 * 1_048_576;

/** The layouts in a folder: the folder itself, or those of its subfolders that are some. */
export async function findLayouts(folder: string): Promise<readonly string[]> {
  if (await isLayout(folder)) return [folder];
  const names = (await readdir(folder)).toSorted();
  const folders = names.map((name) => join(folder, name));
  const found = await Promise.all(folders.map(isLayout));
  return folders.filter((_, index) => found[index]);
}

const isLayout = (folder: string): Promise<boolean> =>
  stat(join(folder, 'oci-layout')).then(
    (found) => found.isFile(),
    (raw: unknown) => {
      const code = errorCodeOf(raw);
      if (code === 'ENOENT' || code === 'ENOTDIR') return false;
      throw raw;
    },
  );

/** What a layout holds by name. */
export async function readLayoutIndex(layout: string): Promise<ImageIndex> {
  const file = join(layout, 'index.json');
  const { size } = await stat(file);
  if (size > MAX_DOCUMENT_BYTES) throw invalidImage(`cannot be looked up: index.json has ${size} bytes`);
  return parseDocument(await readFile(file), indexSchema, 'index.json');
}

export const blobFile = (layout: string, digest: string): string => {
  const [algorithm = '', hex = ''] = digest.split(':');
  return join(layout, 'blobs', algorithm, hex);
};

export const hasBlob = (layout: string, digest: string): Promise<boolean> =>
  lstat(blobFile(layout, digest)).then(
    () => true,
    () => false,
  );

/** @throws StepError `invalid_image` when it is missing, damaged, or another thing */
export async function readDocument<T>(
  layout: string,
  { digest }: Pick<Descriptor, 'digest'>,
  schema: z.ZodType<T>,
  what: string,
): Promise<T> {
  const file = blobFile(layout, digest);
  const found = await stat(file).catch((raw: unknown) => {
    throw invalidImage(`lacks its ${what}, the blob ${digest}; copy it again`, raw);
  });
  if (found.size > MAX_DOCUMENT_BYTES) throw invalidImage(`has a ${what} of ${found.size} bytes`);
  const content = await readFile(file);
  const hash = startHash(digest);
  hash.update(content);
  hash.check();
  return parseDocument(content, schema, what);
}

function parseDocument<T>(content: Buffer, schema: z.ZodType<T>, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch (cause) {
    throw invalidImage(`has a ${what} that is no JSON`, cause);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalidImage(
    `has a ${what} that cannot be read: ${issue?.path.join('.')} ${issue?.message}`,
    parsed.error,
  );
}

export async function openBlob(layout: string, { digest }: Descriptor): Promise<ReadStream> {
  const file = blobFile(layout, digest);
  await stat(file).catch((raw: unknown) => {
    throw invalidImage(`lacks a layer, the blob ${digest}; copy it again`, raw);
  });
  return createReadStream(file, { highWaterMark: 262_144 });
}

/** Tells whether bytes are those that a digest stands for. */
export function startHash(digest: string): {
  readonly update: (bytes: Uint8Array) => void;
  /** @throws StepError `invalid_image` */
  readonly check: () => void;
} {
  const [algorithm = '', wanted = ''] = digest.split(':');
  const hash = createHash(algorithm);
  return {
    update: (bytes) => void hash.update(bytes),
    check: () => {
      const found = hash.digest('hex');
      if (found !== wanted) {
        throw invalidImage(`is damaged: what should be ${digest} is ${algorithm}:${found}; copy it again`);
      }
    },
  };
}
