import { createHash } from 'node:crypto';
import pLimit from 'p-limit';
import type { ImageFacts } from '../driver.ts';
import { SANDBOX_UID } from '../rootfs/layout.ts';
import { createFolderCache } from '../folder-cache.ts';
import { findImage } from './find-image.ts';
import type { ImageConfig } from './layout.ts';
import { IMAGE_ROOT } from './place.ts';
import { unpackImage } from './unpack.ts';

/** An image that is unpacked: its id is the name of its folder in the cache. */
export type Image = ImageFacts;

export interface ImageStoreOptions {
  /** SANDBOX_IMAGES_DIR. */
  readonly folder: string | undefined;
  /** Where images are unpacked; made when it is missing. */
  readonly directory: string;
  /** Ids of images that run. */
  readonly inUse: () => ReadonlySet<string>;
  readonly maxBytes?: number;
}

export interface ImageStore {
  /**
   * Finds an image by its reference, and unpacks it when it is not there yet.
   *
   * @throws StepError `image_not_found`, `invalid_image`
   */
  provide(reference: string): Promise<Image>;
}

const MAX_BYTES = 32 * 1024 ** 3;
/** Unpacking takes a core. */
const UNPACKED_AT_ONCE = 1;
/** Counts up with every change of what is made of the same layers. */
const UNPACK_VERSION = 1;

export function createImageStore(options: ImageStoreOptions): ImageStore {
  const cache = createFolderCache({
    directory: options.directory,
    content: IMAGE_ROOT,
    maxBytes: options.maxBytes ?? MAX_BYTES,
    inUse: options.inUse,
  });
  const inTurn = pLimit(UNPACKED_AT_ONCE);
  return {
    async provide(reference) {
      const found = await findImage(options.folder, reference);
      const id = createHash('sha256').update(`${UNPACK_VERSION} ${found.digest}`).digest('hex');
      await cache.provide(id, (root) => inTurn(() => unpackImage(found, root)));
      return { id, ...describe(found.config) };
    },
  };
}

function describe({ config }: ImageConfig): Omit<Image, 'id'> {
  const folder = config?.WorkingDir ?? '';
  return {
    entrypoint: config?.Entrypoint ?? [],
    command: config?.Cmd ?? [],
    environment: Object.fromEntries(
      (config?.Env ?? []).map((variable): [string, string] => {
        const at = variable.indexOf('=');
        return at < 0 ? [variable, ''] : [variable.slice(0, at), variable.slice(at + 1)];
      }),
    ),
    folder: folder.startsWith('/') ? folder : `/${folder}`,
    ...userOf(config?.User ?? ''),
  };
}

/** The ids that a sandbox has; beyond them nothing is mapped to anything. */
const MAX_ID = 65_535;

/** Numeric users are taken, but never root; names would have to be looked up in a file of the image. */
function userOf(user: string): Pick<Image, 'userId' | 'groupId'> {
  const [, uid, gid] = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(user) ?? [];
  const idOf = (digits: string | undefined): number | undefined => {
    const id = Number(digits ?? 0);
    return id > 0 && id <= MAX_ID ? id : undefined;
  };
  const userId = idOf(uid) ?? SANDBOX_UID;
  return { userId, groupId: idOf(gid) ?? userId };
}
