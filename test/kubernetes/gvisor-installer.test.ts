import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { MANIFESTS } from '../support/manifests.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const PROGRAMS = ['runsc', 'containerd-shim-runsc-v1'] as const;

interface Node {
  readonly programs: string;
  readonly config: string;
  readonly restarted: string;
  install(): Promise<string>;
  publish(contents: string): Promise<void>;
}

/** A node and a place to download from, as folders. */
async function makeNode(config: string): Promise<Node> {
  const root = await makeTempDirectory();
  const [programs, source] = [join(root, 'bin'), join(root, 'release')];
  await Promise.all([mkdir(programs), mkdir(source)]);
  const node = {
    programs,
    config: join(root, 'config.toml'),
    restarted: join(root, 'restarted'),
    async install() {
      const { stdout } = await run('sh', [join(MANIFESTS, 'components/gvisor-installer/install.sh')], {
        env: {
          PATH: process.env['PATH'],
          RELEASE: 'test',
          PROGRAMS: programs,
          CONTAINERD_CONFIG: node.config,
          SOURCE: `file://${source}`,
          RESTART: `touch ${node.restarted}`,
        },
      });
      return stdout;
    },
    async publish(contents: string) {
      for (const name of PROGRAMS) {
        const sum = createHash('sha512').update(contents).digest('hex');
        await writeFile(join(source, name), contents);
        await writeFile(join(source, `${name}.sha512`), `${sum}  ${name}\n`);
      }
    },
  };
  await writeFile(node.config, config);
  await node.publish('first');
  return { ...node, programs };
}

describe('the installer of gVisor', () => {
  it.each([
    [
      'containerd 1',
      'version = 2\n',
      '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runsc.v1"',
    ],
    [
      'containerd 2',
      'version = 3\n',
      `[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]\n  runtime_type = "io.containerd.runsc.v1"`,
    ],
  ])('puts the programs on a node and tells %s', async (_, before, added) => {
    const node = await makeNode(before);

    await node.install();

    for (const name of PROGRAMS) {
      const file = join(node.programs, name);
      expect(await readFile(file, 'utf8')).toBe('first');
      expect((await stat(file)).mode & 0o777).toBe(0o755);
    }
    expect(await readFile(node.config, 'utf8')).toBe(`${before}\n${added}\n`);
    expect(await readFile(`${node.config}.before-gvisor`, 'utf8')).toBe(before);
    await stat(node.restarted);
  });

  it('changes nothing the second time, and renews programs of another release', async () => {
    const node = await makeNode('version = 2\n');
    await node.install();
    const config = await readFile(node.config, 'utf8');

    expect(await node.install()).toBe(
      'runsc is there\ncontainerd-shim-runsc-v1 is there\ncontainerd knows it\n',
    );

    await node.publish('second');
    await node.install();
    expect(await readFile(join(node.programs, 'runsc'), 'utf8')).toBe('second');
    expect(await readFile(node.config, 'utf8')).toBe(config);
  });

  it('installs nothing that is not what its sum says', async () => {
    const node = await makeNode('version = 2\n');
    await node.publish('first');
    await writeFile(join(node.programs, '../release/runsc'), 'other');

    const failure = await node.install().catch((raw: unknown) => raw);

    expect(failure).toMatchObject({ code: 1, stderr: expect.stringContaining('is not what its sum says') });
    expect(await readdir(node.programs)).toEqual([]);
    expect(await readFile(node.config, 'utf8')).toBe('version = 2\n');
  });

  it('leaves a configuration alone that it does not understand', async () => {
    const node = await makeNode('version = 1\n');

    const failure = await node.install().catch((raw: unknown) => raw);

    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no version that this understands'),
    });
    expect(await readFile(node.config, 'utf8')).toBe('version = 1\n');
  });
});
