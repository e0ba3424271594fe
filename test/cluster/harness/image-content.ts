import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runWell } from './run.ts';

/** What an image says of itself. */
export interface ImageConfig {
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

export async function configOf(tag: string): Promise<ImageConfig> {
  const inspected = await runWell(['buildah', 'inspect', '--type', 'image', tag]);
  const { OCIv1 } = JSON.parse(inspected) as { readonly OCIv1: { readonly config: ImageConfig } };
  return OCIv1.config;
}

/** Runs `work` with the folder where an image is unpacked. */
export async function unpacked<T>(tag: string, work: (root: string) => Promise<T>): Promise<T> {
  const container = (await runWell(['buildah', 'from', '--pull-never', tag])).trim();
  try {
    return await work((await runWell(['buildah', 'mount', container])).trim());
  } finally {
    await runWell(['buildah', 'rm', container]);
  }
}

export interface File {
  /** From the root of the image. */
  readonly path: string;
  readonly bytes: number;
  readonly isExecutable: boolean;
}

/** Every file and symbolic link in an unpacked image. */
export async function filesOf(root: string): Promise<readonly File[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => !entry.isDirectory())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const { size, mode } = await lstat(path);
        return { path: path.slice(root.length), bytes: size, isExecutable: (mode & 0o111) !== 0 };
      }),
  );
}
