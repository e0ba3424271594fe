import { IMAGE_PATTERN, isImageReference } from '../definition/image-reference.ts';

/** One entry of SANDBOX_IMAGES_ALLOW: a prefix that ends with `/`, a repository, or an image with its tag or digest. */
export type AllowedImage = string;

/**
 * Reads SANDBOX_IMAGES_ALLOW, comma separated; empty allows nothing. A prefix has to end with a slash, because
 * `ghcr.io/acme` is also where `ghcr.io/acme-of-somebody-else` begins.
 *
 * @throws Error that names every entry that cannot be read, and says how to write it
 */
export function parseAllowedImages(text: string): readonly AllowedImage[] {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  const problems = entries
    .filter((entry) => !isImageReference(entry.endsWith('/') ? `${entry}x` : entry))
    .map(
      (entry) =>
        `\`${entry}\` is no image; write ghcr.io/acme/ for all below it, ghcr.io/acme/tool, or ghcr.io/acme/tool:1.2`,
    );
  if (problems.length > 0) throw new Error(problems.join('; '));
  return entries;
}

/** Compares what is written: no registry is put before a name that has none, and no tag after it. */
export function isAllowedImage(allowed: readonly AllowedImage[], image: string): boolean {
  const [, repository] = IMAGE_PATTERN.exec(image) ?? [];
  if (repository === undefined) return false;
  return allowed.some((entry) =>
    entry.endsWith('/') ? repository.startsWith(entry) : entry === image || entry === repository,
  );
}
