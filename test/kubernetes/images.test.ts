import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  DENO_ARGUMENTS,
  DENO_INSIDE,
  JAVASCRIPT_RUNNER_INSIDE,
} from '../../src/worker/sandbox/rootfs/layout.ts';
import { NODE_FLAGS, PROJECT_ROOT } from '../support/processes.ts';
import { renderEnvironment, workloadsOf } from '../support/manifests.ts';

const read = (file: string): Promise<string> => readFile(join(PROJECT_ROOT, file), 'utf8');

/** The instructions of the last stage, each on one line. */
async function lastStage(file: string): Promise<readonly string[]> {
  const lines = (await read(file)).replaceAll('\\\n', ' ').split('\n');
  const from = lines.findLastIndex((line) => line.startsWith('FROM '));
  return lines.slice(from).filter((line) => line !== '' && !line.startsWith('#'));
}
const valueOf = (stage: readonly string[], instruction: string): string | undefined =>
  stage.find((line) => line.startsWith(`${instruction} `))?.slice(instruction.length + 1);

describe.each(['api', 'worker', 'runner'])('Dockerfile.%s', (component) => {
  const file = `Dockerfile.${component}`;

  it('builds on an image that can be named, and leaves it behind', async () => {
    const text = await read(file);
    expect(text).toMatch(/^ARG NODE_IMAGE=node:24-bookworm-slim$/m);
    expect(text).toMatch(/^FROM \$\{NODE_IMAGE\} AS build$/m);
    const stage = await lastStage(file);
    expect(stage[0]).toBe('FROM scratch');
    expect(stage.filter((line) => /^(RUN|ADD|COPY)/.test(line))).toEqual([
      expect.stringMatching(/^COPY --from=build \/image(\/root)? \/$/),
    ]);
  });

  it('runs as nobody, says what it is, and needs no shell', async () => {
    const stage = await lastStage(file);
    expect(valueOf(stage, 'USER')).toBe('65532:65532');
    for (const label of ['title', 'description', 'licenses', 'version', 'revision']) {
      expect(valueOf(stage, 'LABEL')).toContain(`org.opencontainers.image.${label}=`);
    }
    for (const instruction of ['ENTRYPOINT', 'CMD']) expect(valueOf(stage, instruction)).toMatch(/^\[/);
    expect(stage.join('\n')).not.toMatch(/curl|wget|\bsh\b/);
  });
});

describe('the images', () => {
  it.each(['api', 'worker'])('of the %s starts Node as package.json does', async (component) => {
    const stage = await lastStage(`Dockerfile.${component}`);
    expect(JSON.parse(valueOf(stage, 'ENTRYPOINT')!)).toEqual(['node', ...NODE_FLAGS]);
    expect(JSON.parse(valueOf(stage, 'CMD')!)).toEqual([`dist/${component}/main.js`]);
  });

  it('of the runner starts Deno without a permission, as sandboxes on one machine do', async () => {
    const stage = await lastStage('Dockerfile.runner');
    expect(JSON.parse(valueOf(stage, 'ENTRYPOINT')!)).toEqual([DENO_INSIDE, ...DENO_ARGUMENTS]);
    expect(JSON.parse(valueOf(stage, 'CMD')!)).toEqual([JAVASCRIPT_RUNNER_INSIDE]);
  });

  it('are the ones that the manifests name, as the user that they are made for', async () => {
    const rendered = await renderEnvironment('staging');
    const images = workloadsOf(rendered).flatMap(({ spec }) =>
      spec.template.spec.containers.map(({ image, securityContext }) => {
        expect(securityContext).toMatchObject({ runAsUser: 65_532, runAsGroup: 65_532 });
        return /millrace\/(\w+):/.exec(image)![1]!;
      }),
    );
    expect(images.sort()).toEqual(['api', 'api', 'runner', 'runner', 'runner', 'runner', 'worker']);
  });

  it('are built from sources alone', async () => {
    const [first, ...rest] = (await read('.dockerignore')).split('\n').filter((line) => line !== '');
    expect(first).toBe('*');
    const taken = rest.filter((line) => line.startsWith('!'));
    expect(taken.map((line) => line.slice(1)).sort()).toEqual(
      [
        'LICENSE',
        'bin',
        'package-lock.json',
        'package.json',
        'scripts',
        'src',
        'tsconfig.build.json',
        'tsconfig.json',
      ].sort(),
    );
    expect(rest).toContain('**/*.test.ts');
  });
});
