import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROJECT_ROOT } from '../../support/processes.ts';
import { configOf, filesOf, unpacked } from '../harness/image-content.ts';
import type { Part } from './part.ts';

/** The most that each may take unpacked, in megabytes. */
const LARGEST = { api: 250, worker: 250, runner: 200 } as const;
const SBOM = 'usr/share/sbom/millrace.cdx.json';
const ALL = ['api', 'worker', 'runner'] as const;

/** By which somebody who got in would look around, fetch more, or build it. */
const TOOLS = new Set(
  [
    'sh bash dash ash zsh ksh fish csh tcsh rbash busybox toybox env',
    'curl wget nc ncat netcat socat ssh scp ftp telnet psql redis-cli',
    'apt apt-get dpkg apk rpm npm npx corepack yarn pnpm pip pip3',
    'gcc cc g++ make ld perl su sudo mount chroot',
  ].flatMap((line) => line.split(' ')),
);

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly version?: string }>>;
}

interface Sbom {
  readonly bomFormat: string;
  readonly components: readonly { readonly 'bom-ref': string; readonly name: string }[];
}

/** What runs the rest. */
const RUNTIMES = { api: ['node'], worker: ['node'], runner: ['deno', 'cpython'] } as const;

const readJson = async <T>(...path: readonly string[]): Promise<T> =>
  JSON.parse(await readFile(join(...path), 'utf8')) as T;

export function describeImages({ cluster }: Part): void {
  describe('the images, as they were built', () => {
    it.each(ALL)('that of the %s runs as nobody, and says what it is', async (name) => {
      const { User, Labels } = await configOf(cluster.images[name]);
      expect(User).toBe('65532:65532');
      for (const label of ['title', 'description', 'licenses', 'version', 'revision']) {
        expect.soft(Labels?.[`org.opencontainers.image.${label}`], label).toMatch(/\S/);
      }
    });

    it.each(ALL)(
      'that of the %s is small, has no shell and no tools, and lists what it has',
      { timeout: 120_000 },
      async (name) => {
        await unpacked(cluster.images[name], async (root) => {
          const files = await filesOf(root);
          const megabytes = files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
          expect(megabytes).toBeGreaterThan(50); // it was looked at
          expect(megabytes).toBeLessThanOrEqual(LARGEST[name]);
          const tools = files.filter(({ path, isExecutable }) => isExecutable && TOOLS.has(basename(path)));
          expect(tools.map(({ path }) => path)).toEqual([]);

          const { bomFormat, components } = await readJson<Sbom>(root, SBOM);
          expect(bomFormat).toBe('CycloneDX');
          const names = components.map((one) => one.name);
          expect(names).toEqual(expect.arrayContaining([...RUNTIMES[name], 'debian', 'libc6']));
        });
      },
    );

    it.each(['api', 'worker'] as const)(
      'that of the %s has the packages that run, each of which is listed',
      { timeout: 120_000 },
      async (name) => {
        const { packages } = await readJson<Lock>(PROJECT_ROOT, 'package-lock.json');
        await unpacked(cluster.images[name], async (root) => {
          const installed = (await filesOf(root))
            .map(({ path }) => /^\/app\/(node_modules\/.+)\/package\.json$/.exec(path)?.[1])
            .filter((path) => path !== undefined && packages[path] !== undefined) as readonly string[];
          expect(installed).toContain('node_modules/pg');
          expect(installed.filter((path) => packages[path]?.dev === true)).toEqual([]);

          const { components } = await readJson<Sbom>(root, SBOM);
          const listed = new Set(components.map((one) => one['bom-ref']));
          const missing = installed.filter(
            (path) => !listed.has(`${path.split('node_modules/').at(-1)}@${packages[path]?.version}`),
          );
          expect(missing).toEqual([]);
        });
      },
    );
  });
}
