import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface DenoBinary {
  readonly file: string;
  readonly version: string;
  /** Tells its content. */
  readonly identity: string;
}

/** The names of npm's platform packages, as the package `deno` chooses among them. */
const PLATFORM_PACKAGES: Readonly<Record<string, string>> = {
  'linux-x64': '@deno/linux-x64-glibc',
  'linux-arm64': '@deno/linux-arm64-glibc',
  'darwin-x64': '@deno/darwin-x64',
  'darwin-arm64': '@deno/darwin-arm64',
};

/**
 * Deno from the npm package `deno`. Its platform package holds the binary whether install scripts ran or not.
 *
 * @throws Error that says what to do
 */
export async function findDeno(): Promise<DenoBinary> {
  const platform = `${process.platform}-${process.arch}`;
  const name = PLATFORM_PACKAGES[platform];
  if (name === undefined) throw new Error(`Deno is not made for ${platform}`);
  let manifest: string;
  try {
    const main = createRequire(import.meta.url).resolve('deno/package.json');
    manifest = createRequire(main).resolve(`${name}/package.json`);
  } catch (error) {
    throw new Error(`the npm package ${name} is not installed; run \`npm ci\``, { cause: error });
  }
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { readonly version: string };
  const file = join(dirname(manifest), 'deno');
  const { size } = await stat(file);
  // A published version never changes, so name, version and size do for the bytes.
  return { file, version, identity: `${name}@${version} ${size}` };
}
