import { join } from 'node:path';

/** Where images are unpacked: `<folder of the cache>/<id>/root`. */
export const imagesDirectoryOf = (cacheDirectory: string): string => join(cacheDirectory, 'images');

/** Name of the folder with an image's files, within that of its id. */
export const IMAGE_ROOT = 'root';
