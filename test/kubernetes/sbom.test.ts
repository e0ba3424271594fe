import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { composeSbom, installedOf, program, type NpmSbom } from '../../scripts/write-sbom.ts';
import { z } from '../../src/core/zod.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);

/** As much of http://cyclonedx.org/schema/bom-1.5.schema.json as these lists use. */
const componentSchema = z.strictObject({
  'bom-ref': z.string().min(1),
  type: z.enum(['application', 'library', 'operating-system', 'container']),
  name: z.string().min(1),
  version: z.string().min(1),
  purl: z
    .string()
    .regex(/^pkg:[a-z]+\/[^@?]+@[^@?]+(\?[\w=&.-]+)?$/)
    .optional(),
  cpe: z
    .string()
    .regex(/^cpe:2\.3:a(:[\w.*-]+){10}$/)
    .optional(),
  scope: z.enum(['required', 'optional', 'excluded']).optional(),
  description: z.string().optional(),
  author: z.string().optional(),
  hashes: z.array(z.strictObject({ alg: z.string(), content: z.hex() })).optional(),
  licenses: z.array(z.looseObject({})).optional(),
  properties: z.array(z.strictObject({ name: z.string(), value: z.string() })).optional(),
  externalReferences: z.array(z.looseObject({ type: z.string(), url: z.string() })).optional(),
});
const sbomSchema = z.strictObject({
  $schema: z.literal('http://cyclonedx.org/schema/bom-1.5.schema.json'),
  bomFormat: z.literal('CycloneDX'),
  specVersion: z.literal('1.5'),
  version: z.int().min(1),
  metadata: z.strictObject({ component: componentSchema }),
  components: z.array(componentSchema),
  dependencies: z.array(z.strictObject({ ref: z.string(), dependsOn: z.array(z.string()) })),
});
type Sbom = z.output<typeof sbomSchema>;

/** @throws what is wrong with it */
function validate(text: string): Sbom {
  const sbom = sbomSchema.parse(JSON.parse(text));
  const references = [sbom.metadata.component, ...sbom.components].map((one) => one['bom-ref']);
  expect(new Set(references).size, 'references are unique').toBe(references.length);
  for (const { ref, dependsOn } of sbom.dependencies) {
    for (const one of [ref, ...dependsOn]) expect(references).toContain(one);
    expect(new Set(dependsOn).size).toBe(dependsOn.length);
  }
  for (const { name, type, purl } of sbom.components) {
    if (type !== 'operating-system') expect(purl, name).toBeDefined();
  }
  return sbom;
}

const npmComponent = (name: string) => ({
  'bom-ref': `${name}@1.0.0`,
  type: 'library',
  name,
  version: '1.0.0',
  purl: `pkg:npm/${name}@1.0.0`,
});
const NPM: NpmSbom = {
  metadata: { component: npmComponent('project') },
  components: [npmComponent('used'), npmComponent('deep'), npmComponent('of-another-platform')],
  dependencies: [
    { ref: 'project@1.0.0', dependsOn: ['used@1.0.0', 'of-another-platform@1.0.0'] },
    { ref: 'used@1.0.0', dependsOn: ['deep@1.0.0', 'of-another-platform@1.0.0'] },
    { ref: 'deep@1.0.0' },
    { ref: 'of-another-platform@1.0.0' },
  ],
};

/** A file of the root, copied or written. */
async function put(root: string, inside: string, content: { from: string } | string): Promise<void> {
  const file = join(root, inside);
  await mkdir(dirname(file), { recursive: true });
  if (typeof content === 'string') await writeFile(file, content);
  else await copyFile(content.from, file);
}

async function writeSbom(root: string, ...more: readonly string[]): Promise<string> {
  await run(process.execPath, [join(PROJECT_ROOT, 'scripts/write-sbom.ts'), 'millrace-test', root, ...more]);
  return readFile(join(root, 'usr/share/sbom/millrace.cdx.json'), 'utf8');
}

describe('what is listed of an image', { timeout: 60_000 }, () => {
  it('is every package of npm that is installed, with what it depends on', async () => {
    const folder = await makeTempDirectory();
    for (const place of ['node_modules/used', 'node_modules/used/node_modules/deep']) {
      const name = place.slice(place.lastIndexOf('/') + 1);
      await put(folder, `${place}/package.json`, JSON.stringify({ name, version: '1.0.0' }));
    }
    const npm = installedOf(NPM, folder);
    const others = [program('node', '24.0.0', 'nodejs', 'node.js')];
    const sbom = composeSbom({ name: 'millrace-api', version: '0.1.0', npm, others });
    expect(validate(JSON.stringify(sbom)).components.map(({ purl }) => purl)).toEqual([
      'pkg:npm/deep@1.0.0',
      'pkg:generic/node@24.0.0',
      'pkg:npm/used@1.0.0',
    ]);
    expect(sbom.dependencies).toEqual([
      { ref: 'deep@1.0.0', dependsOn: [] },
      { ref: 'millrace-api@0.1.0', dependsOn: ['pkg:generic/node@24.0.0', 'used@1.0.0'] },
      { ref: 'used@1.0.0', dependsOn: ['deep@1.0.0'] },
    ]);
  });

  it('is what `npm sbom` says of this project, as CycloneDX has it', async () => {
    const root = await makeTempDirectory();
    const { stdout } = await run(
      'npm',
      ['sbom', '--package-lock-only', '--omit=dev', '--sbom-format=cyclonedx'],
      { cwd: PROJECT_ROOT, maxBuffer: 16 * 1024 * 1024 },
    );
    const file = join(await makeTempDirectory(), 'npm.json');
    await writeFile(file, stdout);
    const { components } = validate(await writeSbom(root, file));
    expect(components.map(({ name }) => name)).toEqual(expect.arrayContaining(['express', 'zod']));
  });

  it('is Deno and CPython of a runner, as its build has noted', async () => {
    const folder = await makeTempDirectory();
    const manifest = { key: 'k', deno: '2.9.5', python: { version: '3.11.2', executable: '/python' } };
    await put(folder, 'manifest.json', JSON.stringify(manifest));
    await mkdir(join(folder, 'root'));
    const { components } = validate(await writeSbom(join(folder, 'root')));
    expect(components.map(({ purl, cpe }) => [purl, cpe])).toEqual([
      ['pkg:generic/cpython@3.11.2', 'cpe:2.3:a:python:python:3.11.2:*:*:*:*:*:*:*'],
      ['pkg:generic/deno@2.9.5', 'cpe:2.3:a:deno:deno:2.9.5:*:*:*:*:*:*:*'],
    ]);
  });

  it.runIf(existsSync('/etc/debian_version'))(
    'is the Debian packages of its files, and not of others with such a name',
    async () => {
      const root = await makeTempDirectory();
      await put(root, '/usr/bin/env', { from: '/usr/bin/env' });
      await put(root, '/usr/bin/dpkg-query', 'another program');
      const { components } = validate(await writeSbom(root));
      const { stdout } = await run('dpkg-query', ['--show', '--showformat=${Version}', 'coreutils']);
      expect(components.map(({ name, version }) => [name, version])).toEqual([
        [expect.stringMatching(/^(debian|ubuntu)$/), expect.any(String)],
        ['coreutils', stdout],
      ]);
      expect(components[1]!.purl).toMatch(/^pkg:deb\/\w+\/coreutils@[^?]+\?arch=\w+&distro=\w+-[\d.]+$/);
    },
  );

  it('is the same each time, and says no time', async () => {
    const root = await makeTempDirectory();
    await put(root, '/usr/bin/env', { from: '/usr/bin/env' });
    const first = await writeSbom(root);
    expect(await writeSbom(root)).toBe(first);
    expect(first).not.toMatch(/timestamp|serialNumber/);
  });
});

it.each(['api', 'worker', 'runner'])('Dockerfile.%s lists what it has put together', async (component) => {
  const text = await readFile(join(PROJECT_ROOT, `Dockerfile.${component}`), 'utf8');
  expect(text).toMatch(/^COPY .*scripts\/write-sbom\.ts.* scripts\/$/m);
  expect(text).toContain(`write-sbom.ts millrace-${component} `);
});

it('the programs of runners bundle no package of npm, which the list would lack', async () => {
  const entries = ['javascript/main', 'javascript/slot/main', 'javascript/realm/install', 'pod/main'];
  const { metafile } = await build({
    entryPoints: entries.map((entry) => join(PROJECT_ROOT, `src/runner/${entry}.ts`)),
    bundle: true,
    write: false,
    outdir: 'nowhere',
    platform: 'node',
    format: 'esm',
    metafile: true,
    external: ['embedded:*'],
    logLevel: 'silent',
  });
  expect(Object.keys(metafile.inputs).filter((file) => file.includes('node_modules'))).toEqual([]);
});
