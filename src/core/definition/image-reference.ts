/**
 * References of OCI images, as github.com/distribution/reference has them: `[host[:port]/]path[:tag][@digest]`. Whether
 * a part before the first slash is a host or the beginning of the path is for whoever pulls it.
 */

const MAX_REFERENCE_LENGTH = 1024;
const MAX_REPOSITORY_LENGTH = 255;

const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
const HOST = `(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?`;
const COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const TAG = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const DIGEST = 'sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}';

export const IMAGE_PATTERN = new RegExp(
  `^((?:${HOST}/)?${COMPONENT}(?:/${COMPONENT})*)(?::${TAG})?(?:@(?:${DIGEST}))?$`,
);

export function isImageReference(text: string): boolean {
  if (text.length > MAX_REFERENCE_LENGTH) return false;
  const [, repository = ''] = IMAGE_PATTERN.exec(text) ?? [];
  return repository !== '' && repository.length <= MAX_REPOSITORY_LENGTH;
}
