import { coerceError } from '../../../core/errors/app-error.ts';
import { IMAGE_PATTERN } from '../../../core/definition/image-reference.ts';
import { terminalError, type StepError } from '../../../core/step-error.ts';
import { z } from '../../../core/zod.ts';
import { invalidImage } from './invalid-image.ts';
import {
  configSchema,
  findLayouts,
  hasBlob,
  indexSchema,
  manifestSchema,
  readDocument,
  readLayoutIndex,
  type Descriptor,
  type ImageConfig,
  type ImageManifest,
} from './layout.ts';

/** An image of this machine's kind, in a layout. */
export interface FoundImage {
  readonly layout: string;
  /** Of its manifest. */
  readonly digest: string;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
}

/** Annotations that hold an image's name: the specification's, and containerd's and BuildKit's for the whole name. */
const NAME_ANNOTATIONS = ['org.opencontainers.image.ref.name', 'io.containerd.image.name'] as const;
/** Node's names of architectures, where Go has others. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };
/** An index may hold indexes; nobody nests them deeper. */
const MAX_NESTING = 3;

interface Candidate {
  readonly layout: string;
  readonly descriptor: Pick<Descriptor, 'digest' | 'platform'>;
}

/**
 * Finds the image that a step names in a folder of layouts: by the name it was copied there with, as it is written, or by
 * its digest, whatever its name. Of an image for several platforms this machine's is taken.
 *
 * @throws StepError `image_not_found`, `invalid_image`
 */
export async function findImage(
  folder: string | undefined,
  reference: string,
  architecture: string = process.arch,
): Promise<FoundImage> {
  if (folder === undefined) throw notFound(reference, 'this worker has no folder of images');
  const platform = ARCHITECTURES[architecture] ?? architecture;
  const layouts = await findLayouts(folder).catch((raw: unknown) => {
    throw notFound(reference, `SANDBOX_IMAGES_DIR cannot be read (${coerceError(raw).message})`, raw);
  });
  const named = await candidatesOf(layouts, reference);
  if (named.length === 0) throw notFound(reference, 'no image in SANDBOX_IMAGES_DIR has this name or digest');

  const images: FoundImage[] = [];
  const others = new Set<string>();
  for (const candidate of named) {
    for (const { layout, descriptor } of await manifestsOf(candidate)) {
      if (descriptor.platform !== undefined && !fits(descriptor.platform, platform)) {
        others.add(`${descriptor.platform.os}/${descriptor.platform.architecture}`);
        continue;
      }
      if (images.some(({ digest }) => digest === descriptor.digest)) continue;
      const manifest = await readDocument(layout, descriptor, manifestSchema, 'manifest');
      const config = await readDocument(layout, manifest.config, configSchema, 'configuration');
      if (fits(config, platform)) images.push({ layout, digest: descriptor.digest, manifest, config });
      else others.add(`${config.os}/${config.architecture}`);
    }
  }
  return theOnly(images, reference, platform, [...others]);
}

function theOnly(
  images: readonly FoundImage[],
  reference: string,
  platform: string,
  others: readonly string[],
): FoundImage {
  const [image, second] = images;
  if (image === undefined) {
    throw notFound(
      reference,
      `the image is there for ${others.join(', ') || 'no platform'}, and this worker needs linux/${platform}`,
    );
  }
  if (second !== undefined) {
    throw notFound(
      reference,
      `SANDBOX_IMAGES_DIR has several images of this name (${images.map(({ digest }) => digest).join(', ')}): remove one, or name the digest`,
    );
  }
  return image;
}

async function candidatesOf(layouts: readonly string[], reference: string): Promise<readonly Candidate[]> {
  const { digest } = splitReference(reference);
  const found: Candidate[] = [];
  for (const layout of layouts) {
    if (digest !== undefined) {
      if (await hasBlob(layout, digest)) found.push({ layout, descriptor: { digest } });
      continue;
    }
    const { manifests } = await readLayoutIndex(layout);
    for (const descriptor of manifests) {
      const names = NAME_ANNOTATIONS.map((name) => descriptor.annotations?.[name]);
      if (names.includes(reference)) found.push({ layout, descriptor });
    }
  }
  return found;
}

const nestingSchema = z.object({
  mediaType: z.string().optional(),
  manifests: z.array(z.unknown()).optional(),
});

/** The manifests that a descriptor stands for: its own, or those that its index lists. */
async function manifestsOf({ layout, descriptor }: Candidate, depth = 0): Promise<readonly Candidate[]> {
  const { manifests } = await readDocument(layout, descriptor, nestingSchema, 'manifest');
  if (manifests === undefined) return [{ layout, descriptor }];
  if (depth >= MAX_NESTING) throw invalidImage('has indexes within indexes, more than three levels deep');
  const index = await readDocument(layout, descriptor, indexSchema, 'index');
  const all: Candidate[] = [];
  for (const each of index.manifests) {
    // Copies of one platform alone lack the blobs of the others.
    if (await hasBlob(layout, each.digest))
      all.push(...(await manifestsOf({ layout, descriptor: each }, depth + 1)));
    else if (each.platform !== undefined) all.push({ layout, descriptor: each });
  }
  return all;
}

const fits = (found: { readonly os: string; readonly architecture: string }, architecture: string): boolean =>
  found.os === 'linux' && found.architecture === architecture;

function splitReference(reference: string): {
  readonly repository: string;
  readonly digest: string | undefined;
} {
  const [name = '', digest] = reference.split('@');
  return { repository: IMAGE_PATTERN.exec(name)?.[1] ?? name, digest };
}

/** Says how an image gets to where it is looked for. */
function notFound(reference: string, why: string, cause?: unknown): StepError {
  const { repository, digest } = splitReference(reference);
  const folder = `oci:$SANDBOX_IMAGES_DIR/${repository.split('/').at(-1)}`;
  // A digest may be that of an index, which only a copy of the whole keeps.
  const copy =
    digest === undefined
      ? `docker://${reference} ${folder}:${reference}`
      : `--all docker://${repository}@${digest} ${folder}`;
  return terminalError(
    'image_not_found',
    `Image ${reference}: ${why}. Images are not pulled: whoever runs the workers sets SANDBOX_IMAGES_DIR to a folder of ` +
      `OCI image layouts and copies them there: \`skopeo copy ${copy}\``,
    cause,
  );
}
