import { createHash } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../../support/processes.ts';
import type { Kit } from './kit.ts';
import { run, runWell } from './run.ts';

export const IMAGES = ['api', 'worker', 'runner', 'postgres', 'redis'] as const;
export type ImageName = (typeof IMAGES)[number];
export type ImageTags = Readonly<Record<ImageName, string>>;

interface Recipe {
  readonly context: string;
  readonly flags: readonly string[];
  /** What goes into it, below its context. */
  readonly files: readonly string[];
}

/** As .dockerignore lets it through. */
const SOURCES = [
  'LICENSE',
  'package.json',
  'package-lock.json',
  'tsconfig*.json',
  'bin/**',
  'scripts/**',
  'src/**',
];
const LEFT_OUT = /\.(test|fixture)\.ts$|__pycache__/;

const ofProject = (name: string): Recipe => ({
  context: PROJECT_ROOT,
  flags: ['--file', join(PROJECT_ROOT, `Dockerfile.${name}`)],
  files: [`Dockerfile.${name}`, ...SOURCES],
});
const ofTests = (name: string): Recipe => ({
  context: join(PROJECT_ROOT, 'test/cluster/images', name),
  flags: [],
  files: ['**'],
});

const RECIPES: Readonly<Record<ImageName, Recipe>> = {
  api: ofProject('api'),
  worker: ofProject('worker'),
  runner: ofProject('runner'),
  postgres: ofTests('postgres'),
  redis: ofTests('redis'),
};

/** A tag that is another one whenever the image would be. */
export async function tagOf(name: ImageName): Promise<string> {
  return `${repositoryOf(name)}:${await hashOf(RECIPES[name])}`;
}

async function hashOf({ context, files }: Pick<Recipe, 'context' | 'files'>): Promise<string> {
  const hash = createHash('sha256');
  const found: string[] = [];
  for await (const entry of glob([...files], { cwd: context, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !LEFT_OUT.test(path)) found.push(path);
  }
  for (const path of found.sort())
    hash
      .update(path.slice(context.length))
      .update('\0')
      .update(await readFile(path));
  return hash.digest('hex').slice(0, 12);
}

export const isThere = async (tag: string): Promise<boolean> =>
  (await run(['buildah', 'inspect', '--type', 'image', tag])).code === 0;

const repositoryOf = (name: ImageName): string => `localhost/millrace-cluster/${name}`;

/** Builds what is not there yet, and forgets the builds of before. */
export async function buildImages(kit: Kit, say: (text: string) => void): Promise<ImageTags> {
  const tags: Partial<Record<ImageName, string>> = {};
  for (const name of IMAGES) {
    const tag = await tagOf(name);
    tags[name] = tag;
    if (await isThere(tag)) continue;
    say(`building the image of ${name} (a minute or two; without changes it is not built again)`);
    const { context, flags } = RECIPES[name];
    await kit.buildImage(tag, context, ['--layers', ...flags]);
    await forgetOthers(name, tag);
  }
  return tags as ImageTags; // the loop went over all names
}

/** The programs that a release replaces. */
export type Release = Pick<ImageTags, 'api' | 'worker'>;

/** The release after the one in these images, whose schema is one migration further. */
export async function buildNextRelease(kit: Kit, tags: ImageTags): Promise<Release> {
  const context = join(PROJECT_ROOT, 'test/cluster/images/next');
  const hash = await hashOf({ context, files: ['**'] });
  const build = async (name: keyof Release): Promise<string> => {
    const tag = `${tags[name]}-next-${hash}`;
    if (!(await isThere(tag))) await kit.buildImage(tag, context, ['--build-arg', `BASE=${tags[name]}`]);
    return tag;
  };
  return { api: await build('api'), worker: await build('worker') };
}

async function forgetOthers(name: ImageName, tag: string): Promise<void> {
  const listed = await runWell(['buildah', 'images', '--format', '{{.Name}}:{{.Tag}}']);
  const old = listed.split('\n').filter((one) => one.startsWith(`${repositoryOf(name)}:`) && one !== tag);
  // One that something still builds on stays; it costs nothing but room.
  if (old.length > 0) await run(['buildah', 'rmi', ...old]);
}

/** How much room images take unpacked, as buildah says it. */
export async function sizesOf(tags: ImageTags): Promise<Readonly<Record<ImageName, string>>> {
  const listed = await runWell(['buildah', 'images', '--format', '{{.Name}}:{{.Tag}} {{.Size}}']);
  const byTag = new Map(
    listed.split('\n').map((line) => {
      const at = line.indexOf(' ');
      return [line.slice(0, at), line.slice(at + 1).trim()] as const;
    }),
  );
  return Object.fromEntries(IMAGES.map((name) => [name, byTag.get(tags[name]) ?? 'unknown'])) as Readonly<
    Record<ImageName, string>
  >;
}
