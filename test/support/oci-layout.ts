import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Header } from 'tar';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';

/** Images as a registry's copy of them lies in a folder, made by hand: honest ones, and others. */

export interface Member {
  readonly path: string;
  readonly type?: 'File' | 'Directory' | 'SymbolicLink' | 'Link' | 'CharacterDevice' | 'FIFO';
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly target?: string;
}

const BLOCK = 512;

export function makeTar(members: readonly Member[]): Buffer {
  const blocks: Buffer[] = [];
  for (const { path, type = 'File', content = '', mode = 0o644, target } of members) {
    const bytes = Buffer.from(content);
    const header = new Header({
      path,
      type,
      mode,
      size: bytes.length,
      linkpath: target,
      mtime: new Date(1_700_000_000_000),
    });
    const block = Buffer.alloc(BLOCK);
    if (header.encode(block)) throw new Error(`${path} does not fit into one header`);
    blocks.push(block, bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK));
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

export interface LayerSource {
  readonly tar: Buffer;
  readonly compression?: 'gzip' | 'zstd' | 'none';
  /** Instead of what is right. */
  readonly mediaType?: string;
  readonly diffId?: string;
}

export interface ImageSource {
  /** As the folder names it; undefined: found by its digest alone. */
  readonly name?: string;
  readonly layers: readonly LayerSource[];
  /** `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`. */
  readonly config?: JsonObject;
  readonly architecture?: string;
}

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export const digestOf = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export const hostArchitecture = process.arch === 'x64' ? 'amd64' : process.arch;

/** Writes a layout with these images; gives their manifests, in order. */
export async function writeLayout(folder: string, images: readonly ImageSource[]): Promise<readonly Blob[]> {
  await mkdir(join(folder, 'blobs/sha256'), { recursive: true });
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const manifests: Blob[] = [];
  for (const image of images) manifests.push(await writeImage(folder, image));
  await writeIndex(
    folder,
    manifests.map((manifest, index) => named(manifest, images[index]?.name)),
  );
  return manifests;
}

export const writeIndex = (folder: string, manifests: readonly JsonValue[]): Promise<void> =>
  writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));

export const named = (blob: Blob, name: string | undefined): JsonObject => ({
  ...blob,
  ...(name === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } }),
});

/** Writes an index of manifests for several platforms as a blob. */
export async function writeNestedIndex(folder: string, manifests: readonly JsonValue[]): Promise<Blob> {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  return writeBlob(folder, mediaType, JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
}

async function writeImage(folder: string, image: ImageSource): Promise<Blob> {
  const layers: Blob[] = [];
  for (const { tar, compression = 'gzip', mediaType } of image.layers) {
    const content =
      compression === 'gzip' ? gzipSync(tar) : compression === 'zstd' ? zstdCompressSync(tar) : tar;
    const suffix = compression === 'none' ? '' : `+${compression}`;
    const type = mediaType ?? `application/vnd.oci.image.layer.v1.tar${suffix}`;
    layers.push(await writeBlob(folder, type, content));
  }
  const config = {
    architecture: image.architecture ?? hostArchitecture,
    os: 'linux',
    config: image.config ?? {},
    rootfs: { type: 'layers', diff_ids: image.layers.map(({ tar, diffId }) => diffId ?? digestOf(tar)) },
  };
  return writeBlob(
    folder,
    'application/vnd.oci.image.manifest.v1+json',
    JSON.stringify({
      schemaVersion: 2,
      config: await writeBlob(folder, 'application/vnd.oci.image.config.v1+json', JSON.stringify(config)),
      layers,
    }),
  );
}

async function writeBlob(folder: string, mediaType: string, content: string | Uint8Array): Promise<Blob> {
  const bytes = Buffer.from(content);
  const digest = digestOf(bytes);
  await writeFile(join(folder, 'blobs', ...digest.split(':')), bytes);
  return { mediaType, digest, size: bytes.length };
}
