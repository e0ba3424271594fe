// Lists what is in the root of an image, as CycloneDX: `node scripts/write-sbom.ts NAME ROOT [NPM_SBOM]` writes
// ROOT/usr/share/sbom/millrace.cdx.json. It runs in the stage that builds the image, whose Debian packages it asks for the
// files that were copied. NPM_SBOM is what `npm sbom` says of the packages beside this script; those that are installed count.
// The same contents make the same file.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const SBOM_INSIDE = 'usr/share/sbom/millrace.cdx.json';
const PROJECT = fileURLToPath(new URL('../', import.meta.url));

export interface Component {
  readonly 'bom-ref': string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
  readonly cpe?: string;
  readonly [more: string]: unknown;
}
interface Dependency {
  readonly ref: string;
  readonly dependsOn?: readonly string[];
}
export interface Sbom {
  readonly $schema: string;
  readonly bomFormat: 'CycloneDX';
  readonly specVersion: '1.5';
  readonly version: 1;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly Dependency[];
}
/** As much as is taken of what `npm sbom` says. */
export interface NpmSbom {
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly Dependency[];
}

/** One list of all that is known to be in the image. */
export function composeSbom(image: {
  readonly name: string;
  readonly version: string;
  readonly npm: NpmSbom | undefined;
  /** What is not of npm. */
  readonly others: readonly Component[];
}): Sbom {
  const { name, version, npm, others } = image;
  const component: Component = {
    'bom-ref': `${name}@${version}`,
    type: 'container',
    name,
    version,
    licenses: [{ license: { id: 'Apache-2.0' } }],
  };
  const components = [...(npm?.components ?? []), ...others].sort(byReference);
  const known = new Set(components.map((one) => one['bom-ref']));
  const direct = npm?.dependencies.find(({ ref }) => ref === npm.metadata.component['bom-ref']);
  const own = [...(direct?.dependsOn ?? []), ...others.map((one) => one['bom-ref'])];
  const dependencies = (npm?.dependencies ?? [])
    .filter(({ ref }) => known.has(ref))
    .concat({ ref: component['bom-ref'], dependsOn: own })
    .map(({ ref, dependsOn = [] }) => ({
      ref,
      dependsOn: [...new Set(dependsOn)].filter((one) => known.has(one)).sort(),
    }));
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component },
    components,
    dependencies: dependencies.sort((a, b) => compare(a.ref, b.ref)),
  };
}

/** By the code of their letters: the same in every locale. */
const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));
const byReference = (a: Component, b: Component): number => compare(a['bom-ref'], b['bom-ref']);

/** Of what npm lists, the packages that are installed: others are for other platforms. */
export function installedOf(npm: NpmSbom, folder: string): NpmSbom {
  const installed = new Set(
    globSync(['**/node_modules/*/package.json', '**/node_modules/@*/*/package.json'], { cwd: folder }).map(
      (file) => {
        const { name, version } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Component;
        return `${name}@${version}`;
      },
    ),
  );
  return { ...npm, components: npm.components.filter((one) => installed.has(one['bom-ref'])) };
}

/** Programs that no package manager has brought, by the names that databases of vulnerabilities have for them. */
export function program(name: string, version: string, vendor: string, product = name): Component {
  return {
    ...withPurl('application', name, version, `pkg:generic/${name}@${version}`),
    cpe: `cpe:2.3:a:${vendor}:${product}:${version}:*:*:*:*:*:*:*`,
  };
}

const withPurl = (type: string, name: string, version: string, purl: string): Component => ({
  'bom-ref': purl,
  type,
  name,
  version,
  purl,
});

/** The runtimes in an image: Node by its path, Deno and CPython as scripts/build-runner-rootfs has written down beside it. */
function programsOf(root: string): readonly Component[] {
  const found: Component[] = [];
  // The stage runs this with the Node that it has copied.
  if (existsSync(join(root, 'usr/local/bin/node')))
    found.push(program('node', process.versions.node, 'nodejs', 'node.js'));
  const manifest = join(dirname(root), 'manifest.json');
  if (existsSync(manifest)) {
    const { deno, python } = JSON.parse(readFileSync(manifest, 'utf8')) as {
      readonly deno: string;
      readonly python?: { readonly version: string };
    };
    found.push(program('deno', deno, 'deno'));
    if (python !== undefined) found.push(program('cpython', python.version, 'python', 'python'));
  }
  return found;
}

/** The Debian packages of which files are in `root`, and the release that they are of; none on another system. */
export function debianPackagesOf(root: string): readonly Component[] {
  const release = debianRelease();
  if (release === undefined) return [];
  const candidates = candidatesOf(root);
  const owners = ownersOf(candidates.map(([, from]) => from));
  const names = new Set(
    candidates.flatMap(([inside, from]) => {
      const owner = owners.get(from);
      return owner !== undefined && isSame(join(root, inside), from) ? [owner] : [];
    }),
  );
  if (names.size === 0) return [];
  const { id, version } = release;
  const packages = dpkgQuery(['--show', '--showformat=${Package} ${Version} ${Architecture}\n', ...names])
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name = '', packageVersion = '', architecture] = line.split(' ');
      const purl = `pkg:deb/${id}/${encodeURIComponent(name)}@${encodeURIComponent(packageVersion)}`;
      return withPurl(
        'library',
        name,
        packageVersion,
        `${purl}?arch=${architecture}&distro=${id}-${version}`,
      );
    });
  return [{ 'bom-ref': `${id}-${version}`, type: 'operating-system', name: id, version }, ...packages];
}

function debianRelease(): { readonly id: string; readonly version: string } | undefined {
  if (!existsSync('/etc/debian_version')) return undefined;
  const text = readFileSync('/etc/os-release', 'utf8');
  const value = (key: string): string =>
    new RegExp(`^${key}="?([^"\n]*)"?$`, 'm').exec(text)?.[1] ?? 'unknown';
  return { id: value('ID'), version: value('VERSION_ID') };
}

/** Each file in the image, with the paths that it may have been copied from. */
function candidatesOf(root: string): readonly (readonly [inside: string, from: string])[] {
  const hasDebianPython = globSync('python/bin/python3.*', { cwd: root }).some((inside) => {
    const from = inside.replace('python/', '/usr/');
    return existsSync(from) && isSame(join(root, inside), from);
  });
  return globSync('**', { cwd: root, exclude: (name) => name === 'node_modules' })
    .filter((inside) => lstatSync(join(root, inside)).isFile())
    .flatMap((inside) => {
      const path = `/${inside}`;
      // Debian knows some files by the links of a merged /usr; CPython stands elsewhere in the image.
      const from = [path, `/usr${path}`, path.replace(/^\/usr\//, '/')];
      if (hasDebianPython) from.push(path.replace(/^\/python\//, '/usr/'));
      return [...new Set(from)].filter((one) => existsSync(one)).map((one) => [inside, one] as const);
    });
}

/** By path; what no package has brought is not in it. */
function ownersOf(paths: readonly string[]): ReadonlyMap<string, string> {
  if (paths.length === 0) return new Map();
  const lines = dpkgQuery(['--search', ...paths]).split('\n');
  return new Map(
    lines.flatMap((line) => {
      const [, owner, path] = /^(\S+): (\/.*)$/.exec(line) ?? [];
      return owner === undefined ? [] : [[path!, owner]]; // the expression has both
    }),
  );
}

/** It exits with 1 where it does not know one of the paths. */
function dpkgQuery(args: readonly string[]): string {
  try {
    return execFileSync('dpkg-query', args, {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch (raw) {
    const { status, stdout } = raw as { readonly status?: number; readonly stdout?: string };
    if (status === 1 && stdout !== undefined) return stdout;
    throw raw;
  }
}

const isSame = (a: string, b: string): boolean => readFileSync(a).equals(readFileSync(b));

if (import.meta.main) {
  const [name, folder, npmFile] = process.argv.slice(2);
  if (name === undefined || folder === undefined)
    throw new Error('usage: write-sbom.ts NAME ROOT [NPM_SBOM]');
  const root = resolve(folder);
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as Component;
  const npm =
    npmFile === undefined
      ? undefined
      : installedOf(JSON.parse(readFileSync(npmFile, 'utf8')) as NpmSbom, PROJECT);
  const sbom = composeSbom({ name, version, npm, others: [...programsOf(root), ...debianPackagesOf(root)] });
  mkdirSync(join(root, dirname(SBOM_INSIDE)), { recursive: true });
  writeFileSync(join(root, SBOM_INSIDE), `${JSON.stringify(sbom)}\n`);
  console.log(`${join(root, SBOM_INSIDE)}: ${sbom.components.length} components`);
}
