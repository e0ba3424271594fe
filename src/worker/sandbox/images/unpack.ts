import { chmod, link, mkdir, open, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, type Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { errorCodeOf } from '../../../core/errors/app-error.ts';
import { StepError } from '../../../core/step-error.ts';
import { createFileTree, type FileTree, type Folder } from './file-tree.ts';
import type { FoundImage } from './find-image.ts';
import { invalidImage } from './invalid-image.ts';
import { openBlob, startHash, type Descriptor } from './layout.ts';
import { readTar, type TarEntry } from './tar.ts';

export interface UnpackLimits {
  /** Of all layers together, unpacked, what later ones take away included. */
  readonly maxBytes: number;
}

export const UNPACK_LIMITS: UnpackLimits = { maxBytes: 8 * 1024 ** 3 };

/** A file that has been unpacked and has no name yet. */
interface Content {
  readonly number: number;
}

const MEDIA_TYPE =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[.+](?<compression>gzip|zstd))?$/;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Of union file systems that put their own things beside the files; nothing of the image. */
const WHITEOUT_OF_TOOLS = '.wh..wh.';

/**
 * Unpacks an image's layers into an empty folder, and verifies all of it against the digests in manifest and
 * configuration. Whatever the layers say:
 *
 * - While they are read, only numbered files are written, in a folder beside; no name and no link of a layer is one of this
 *   machine's. Only in the end names are given, from the top down, in folders that were made just then.
 * - All is readable for everyone and writable for nobody, and executable where it was for its owner: what runs it owns
 *   nothing, on a root that is read-only. Owners, further attributes, setuid and setgid are left out; so are devices.
 *
 * @throws StepError `invalid_image`
 */
export async function unpackImage(
  { layout, manifest, config }: FoundImage,
  folder: string,
  limits: UnpackLimits = UNPACK_LIMITS,
): Promise<void> {
  const digests = config.rootfs.diff_ids;
  if (digests.length !== manifest.layers.length) {
    throw invalidImage(
      `has ${manifest.layers.length} layers in its manifest and ${digests.length} in its configuration`,
    );
  }
  const staging = `${folder}.staging`;
  await mkdir(staging, { mode: 0o700 });
  const unpacking: Unpacking = { staging, limits, tree: createFileTree(), files: 0, bytes: 0 };
  try {
    for (const [index, layer] of manifest.layers.entries()) {
      unpacking.tree.beginLayer();
      await unpackLayer(unpacking, layout, layer, digests[index]!); // as many as layers
    }
    unpacking.tree.beginLayer();
    if (config.config?.WorkingDir) unpacking.tree.addFolder(config.config.WorkingDir);
    await give(unpacking.tree.root, folder, staging, new Map());
  } catch (raw) {
    if (errorCodeOf(raw) === 'ENAMETOOLONG') throw invalidImage('has paths that are too long', raw);
    throw raw;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

interface Unpacking {
  readonly staging: string;
  readonly limits: UnpackLimits;
  readonly tree: FileTree<Content>;
  files: number;
  bytes: number;
}

async function unpackLayer(
  unpacking: Unpacking,
  layout: string,
  layer: Descriptor,
  diffId: string,
): Promise<void> {
  const type = MEDIA_TYPE.exec(layer.mediaType);
  if (type === null)
    throw invalidImage(`has a layer of the type ${layer.mediaType}, which cannot be unpacked`);
  const packed = startHash(layer.digest);
  const plain = startHash(diffId);
  try {
    await pipeline(
      await openBlob(layout, layer),
      tap(packed.update),
      decompress(type.groups?.['compression']),
      tap(plain.update),
      async (source: AsyncIterable<Uint8Array>) => {
        for await (const entry of readTar(source)) await take(unpacking, entry);
      },
    );
  } catch (raw) {
    if (raw instanceof StepError || !/^(?:Z_|ZSTD_)/.test(errorCodeOf(raw) ?? '')) throw raw;
    throw invalidImage(`has a layer that cannot be decompressed (${layer.digest})`, raw);
  }
  packed.check();
  plain.check();
}

function decompress(compression: string | undefined): Duplex {
  if (compression === undefined) return new PassThrough();
  return compression === 'gzip' ? createGunzip() : createZstdDecompress();
}

const tap = (look: (bytes: Uint8Array) => void) =>
  async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      look(chunk);
      yield chunk;
    }
  };

async function take(unpacking: Unpacking, entry: TarEntry): Promise<void> {
  const { tree } = unpacking;
  const path = entry.path.replace(/\/+$/, '');
  const at = path.lastIndexOf('/') + 1;
  const name = path.slice(at);
  if (name.startsWith(WHITEOUT)) {
    if (name === OPAQUE) tree.hideBelow(path.slice(0, at));
    else if (!name.startsWith(WHITEOUT_OF_TOOLS)) tree.hide(path.slice(0, at) + name.slice(WHITEOUT.length));
    return;
  }
  switch (entry.type) {
    case 'folder':
      return tree.addFolder(path);
    case 'file':
      return tree.addFile(path, await stage(unpacking, entry));
    case 'link':
      return tree.addLink(path, entry.target);
    case 'hard_link':
      return tree.addHardLink(path, entry.target);
    case 'other':
      return;
    default:
      throw new Error(`no such type of entry: ${String(entry.type satisfies never)}`);
  }
}

async function stage(unpacking: Unpacking, entry: TarEntry): Promise<Content> {
  const content: Content = { number: unpacking.files++ };
  const file = await open(join(unpacking.staging, String(content.number)), 'wx');
  try {
    for await (const chunk of entry.content) {
      unpacking.bytes += chunk.length;
      if (unpacking.bytes > unpacking.limits.maxBytes) {
        throw invalidImage(`is larger than ${unpacking.limits.maxBytes} bytes when it is unpacked`);
      }
      await file.writeFile(chunk);
    }
    await file.chmod(entry.isExecutable ? 0o555 : 0o444);
    // Python's byte code, for one, is only good for sources of the very time.
    const time = entry.modifiedAt?.getTime() ?? Number.NaN;
    if (Number.isFinite(time)) await file.utimes(time / 1000, time / 1000);
  } finally {
    await file.close();
  }
  return content;
}

/** Gives names to what was unpacked. Every folder on the way was made by this very function. */
async function give(
  folder: Folder<Content>,
  place: string,
  staging: string,
  given: Map<Content, string>,
): Promise<void> {
  for (const [name, node] of folder.children) {
    const path = join(place, name);
    switch (node.type) {
      case 'folder':
        await mkdir(path);
        await chmod(path, 0o755);
        await give(node, path, staging, given);
        break;
      case 'link':
        await symlink(node.target, path);
        break;
      case 'file': {
        const first = given.get(node.content);
        if (first === undefined) await rename(join(staging, String(node.content.number)), path);
        else await link(first, path);
        given.set(node.content, first ?? path);
        break;
      }
      default:
        throw new Error(`no such node: ${String(node satisfies never)}`);
    }
  }
}
