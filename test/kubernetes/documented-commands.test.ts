import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ENVIRONMENTS, PREFIX, renderEnvironment, type Rendered } from '../support/manifests.ts';
import { PROJECT_ROOT } from '../support/processes.ts';

/** The folders whose documents tell people what to type; test/cluster runs those of docs/kubernetes.md. */
const DOCUMENTS = ['docs/**/*.md', 'deployments/**/*.md', 'examples/**/*.md', 'README.md'];
/** Kinds of commands that name an object, as kubectl takes them. */
const KINDS = {
  deployment: 'Deployment',
  statefulset: 'StatefulSet',
  job: 'Job',
  cronjob: 'CronJob',
  service: 'Service',
  secret: 'Secret',
} as const;
/** What somebody makes by the command itself, or by hand. */
const MADE = /^(?:backup|restore)-now$|-millrace-secrets$/;

interface Command {
  readonly file: string;
  readonly line: string;
}

let commands: readonly Command[];
beforeAll(async () => {
  const found: Command[] = [];
  for (const pattern of DOCUMENTS) {
    for await (const file of glob(pattern, { cwd: PROJECT_ROOT })) {
      const text = await readFile(join(PROJECT_ROOT, file), 'utf8');
      for (const [line] of text.matchAll(/kubectl [^`\n]*/g)) found.push({ file, line });
    }
  }
  commands = found;
});

/** The objects of a command, each as kind and name. */
function objectsOf(line: string): readonly (readonly [keyof typeof KINDS, string])[] {
  const kinds = Object.keys(KINDS).join('|');
  return [...line.matchAll(new RegExp(`\\b(${kinds})[/ ]((?:dev|staging|prod)-[\\w-]+|\\w+-now)`, 'g'))].map(
    ([, kind, name]) => [kind as keyof typeof KINDS, name!],
  );
}

describe('the kubectl commands of documents', () => {
  it('are found', () => {
    expect(commands.length).toBeGreaterThan(60);
    expect(commands.flatMap(({ line }) => objectsOf(line)).length).toBeGreaterThan(25);
  });

  it.each(ENVIRONMENTS)('name namespaces and objects that %s has', async (environment) => {
    const rendered: Rendered = await renderEnvironment(environment);
    const prefix = PREFIX[environment];
    const namespaces = rendered.of('Namespace').map(({ metadata }) => metadata.name);
    for (const { file, line } of commands) {
      for (const [, namespace] of line.matchAll(/(?:-n|--namespace) (\S+)/g)) {
        if (new RegExp(`^millrace-(?:runners-)?${prefix}$`).test(namespace!))
          expect.soft(namespaces, `${file}: ${line}`).toContain(namespace);
      }
      for (const [kind, name] of objectsOf(line)) {
        if (!name.startsWith(`${prefix}-`) || MADE.test(name)) continue;
        const names = rendered.of(KINDS[kind]).map(({ metadata }) => metadata.name);
        expect.soft(names, `${file}: ${line}`).toContain(name);
      }
    }
  });

  it('stay within one environment each', () => {
    for (const { file, line } of commands) {
      const named = new Set(
        [...line.matchAll(/\bmillrace-(dev|staging|prod)\b|\b(dev|staging|prod)-millrace\b/g)].map(
          ([, first, second]) => first ?? second,
        ),
      );
      expect.soft(named.size, `${file}: ${line}`).toBeLessThanOrEqual(1);
    }
  });

  it('use no namespace that there is not', () => {
    const known = ENVIRONMENTS.flatMap((environment) => [
      `millrace-${PREFIX[environment]}`,
      `millrace-runners-${PREFIX[environment]}`,
    ]);
    for (const { file, line } of commands) {
      for (const [, namespace] of line.matchAll(/(?:-n|--namespace) (millrace\S*)/g)) {
        expect.soft(known, `${file}: ${line}`).toContain(namespace);
      }
    }
  });
});
