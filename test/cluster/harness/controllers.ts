import { createHash } from 'node:crypto';
import { access, copyFile, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cacheDirectory } from '../../support/cache-directory.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { isThere } from './images.ts';
import type { Kit } from './kit.ts';
import type { Kubectl } from './kubectl.ts';
import { runWell } from './run.ts';

interface Recipe {
  /** What go.mod pins. */
  readonly module: string;
  readonly packages: readonly string[];
  /** Which of the programs is the controller. */
  readonly controller: string;
  /** Of the module: the kinds it is about. */
  readonly kinds: readonly string[];
  /** Files of the module that are others here, and where those are. */
  readonly replaced: Readonly<Record<string, string>>;
}

const FOLDER = join(PROJECT_ROOT, 'test/cluster/controllers');
const BUILD_TIMEOUT_MS = 20 * 60_000;

const RECIPES = {
  'sealed-secrets': {
    module: 'github.com/bitnami-labs/sealed-secrets',
    packages: ['cmd/controller', 'cmd/kubeseal'],
    controller: 'controller',
    kinds: ['helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml'],
    replaced: {},
  },
  'external-secrets': {
    module: 'github.com/external-secrets/external-secrets',
    packages: ['.'],
    controller: 'external-secrets',
    kinds: [
      'config/crds/bases/external-secrets.io_externalsecrets.yaml',
      'config/crds/bases/external-secrets.io_secretstores.yaml',
      'config/crds/bases/generators.external-secrets.io_generatorstates.yaml',
    ],
    // Its stores are the libraries of thirty cloud services: an hour to build.
    replaced: {
      'pkg/provider/register/register.go': 'providers.go',
      'pkg/generator/register/register.go': 'generators.go',
    },
  },
} as const satisfies Readonly<Record<string, Recipe>>;

export type ControllerName = keyof typeof RECIPES;

export interface Controller {
  /** Where its programs are, also those for people. */
  readonly programs: string;
  /** Its kinds as well: what is made of them has to be gone before. */
  remove(): Promise<void>;
}

/** Builds a controller from its Go module, unless that was done before, and starts it in the cluster. */
export async function installController(
  kubectl: Kubectl,
  kit: Kit,
  name: ControllerName,
): Promise<Controller> {
  const { folder, key } = await build(name);
  const image = `localhost/millrace-cluster/controller-${name}:${key}`;
  if (!(await isThere(image))) await kit.buildImage(image, folder, []);
  await kit.loadImage(image);

  const kinds = join(folder, 'kinds');
  const text = await readFile(join(FOLDER, name, 'controller.yaml'), 'utf8');
  const input = text.replaceAll('image: controller', `image: ${image}`);
  const remove = async (): Promise<void> => {
    const gone = ['--ignore-not-found', '--timeout', '60s'];
    await kubectl.run(['delete', '--filename', '-', ...gone], { input, timeoutMs: 120_000 });
    await kubectl.run(['delete', '--filename', kinds, ...gone], { timeoutMs: 120_000 });
  };
  // Too large for the annotation that `apply` makes at the client.
  await kubectl.run(['apply', '--server-side', '--force-conflicts', '--filename', kinds]);
  await kubectl.run(['wait', '--for', 'condition=Established', '--filename', kinds, '--timeout', '30s']);
  await kubectl.run(['apply', '--filename', '-'], { input });
  const namespace = `millrace-test-${name}`;
  await kubectl.run(
    ['--namespace', namespace, 'rollout', 'status', 'deployment/controller', '--timeout', '120s'],
    { timeoutMs: 130_000 },
  );
  return { programs: join(folder, 'programs'), remove };
}

/** A folder with `programs`, `kinds` and a Dockerfile, by what it was made of. */
async function build(name: ControllerName): Promise<{ readonly folder: string; readonly key: string }> {
  const recipe: Recipe = RECIPES[name];
  const sources = join(FOLDER, name);
  const hash = createHash('sha256').update(JSON.stringify(recipe));
  for (const file of ['go.mod', 'go.sum', ...Object.values(recipe.replaced)]) {
    hash.update(await readFile(join(sources, file)));
  }
  const key = hash.digest('hex').slice(0, 12);
  const parent = join(cacheDirectory(), 'controllers');
  const folder = join(parent, `${name}-${key}`);
  if (
    await access(folder).then(
      () => true,
      () => false,
    )
  )
    return { folder, key };
  await mkdir(parent, { recursive: true });
  const made = await mkdtemp(join(parent, `${name}.tmp-`));
  try {
    await compile(recipe, sources, made);
    await rename(made, folder);
  } finally {
    await rm(made, { recursive: true, force: true });
  }
  return { folder, key };
}

/** Compiles a copy of the module, in which some files are others. */
async function compile(recipe: Recipe, sources: string, folder: string): Promise<void> {
  const work = join(folder, 'work');
  const copy = join(work, 'module');
  await mkdir(work);
  for (const file of ['go.mod', 'go.sum']) await copyFile(join(sources, file), join(work, file));
  const go = (...args: readonly string[]): Promise<string> =>
    runWell(['nice', '-n', '5', 'go', ...args], {
      cwd: work,
      env: { ...process.env, CGO_ENABLED: '0' },
      timeoutMs: BUILD_TIMEOUT_MS,
    });
  const { Dir } = JSON.parse(await go('mod', 'download', '-json', recipe.module)) as { readonly Dir: string };
  // What Go has downloaded is read-only.
  await runWell(['cp', '-r', '--no-preserve=mode', Dir, copy]);
  for (const [file, ours] of Object.entries(recipe.replaced)) {
    await copyFile(join(sources, ours), join(copy, file));
  }
  await go('mod', 'edit', '-replace', `${recipe.module}=./module`);
  const packages = recipe.packages.map((path) => join(recipe.module, path));
  const programs = join(folder, 'programs');
  await mkdir(programs);
  await go('build', '-buildvcs=false', '-ldflags', '-s -w', '-o', `${programs}/`, ...packages);
  await mkdir(join(folder, 'kinds'));
  for (const kind of recipe.kinds) await cp(join(copy, kind), join(folder, 'kinds', basename(kind)));
  await writeFile(
    join(folder, 'Dockerfile'),
    `FROM scratch\nCOPY programs/${recipe.controller} /controller\nENTRYPOINT ["/controller"]\n`,
  );
  await rm(work, { recursive: true });
}
