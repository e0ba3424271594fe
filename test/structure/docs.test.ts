import { access, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS, GENERATED_DOCS, renderDoc } from '../../scripts/write-docs.ts';
import { ERRORS } from '../../src/core/errors/registry.ts';
import { STEP_ERROR_CODES } from '../../src/core/step-error.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { projectFiles, sourceFiles } from '../support/source-files.ts';

const read = (file: string): Promise<string> => readFile(join(PROJECT_ROOT, file), 'utf8');

/** The names in the first column of the tables of a part of a document. */
const firstColumn = (markdown: string): readonly string[] =>
  [...markdown.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name!);

describe('generated documentation', () => {
  it.each(GENERATED_DOCS)('%s is current; `npm run docs` writes it', async (file) => {
    const { current, wanted } = await renderDoc(file);
    expect(current).toBe(wanted);
  });
});

describe('docs/configuration.md', () => {
  it('has each key that is read, once', async () => {
    expect(firstColumn(await read('docs/configuration.md')).toSorted()).toEqual(
      Object.keys(CONFIG_KEYS).toSorted(),
    );
  });

  it('has only keys that something reads', async () => {
    const readers = (await sourceFiles()).filter((file) => !/config(\/|-keys)/.test(file));
    const code = (await Promise.all(readers.map(read))).join('\n');
    for (const name of Object.keys(CONFIG_KEYS)) expect.soft(code, name).toMatch(new RegExp(`\\b${name}\\b`));
  });
});

describe('docs/errors.md', () => {
  const parts = async (): Promise<readonly [problems: string, steps: string]> => {
    const [problems, steps] = (await read('docs/errors.md')).split('\n## Errors of steps');
    return [problems ?? '', steps ?? ''];
  };

  it('has each problem code of the registry, and no other', async () => {
    expect(firstColumn((await parts())[0])).toEqual(Object.keys(ERRORS));
  });

  it('has each error code of steps, and no other', async () => {
    expect(firstColumn((await parts())[1])).toEqual([...STEP_ERROR_CODES]);
  });
});

describe('every document', () => {
  it('links to files that are there', async () => {
    const documents = (await projectFiles()).filter((file) => file.endsWith('.md'));
    expect(documents).toContain('README.md');
    for (const file of documents) {
      for (const [, target] of (await read(file)).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)) {
        const path = join(PROJECT_ROOT, dirname(file), target!);
        await expect.soft(access(path), `${file} links to ${target}`).resolves.toBeUndefined();
      }
    }
  });

  it('names npm scripts that exist', async () => {
    const { scripts } = JSON.parse(await read('package.json')) as {
      readonly scripts: Record<string, string>;
    };
    const known = new Set(Object.keys(scripts));
    for (const file of (await projectFiles()).filter((name) => name.endsWith('.md'))) {
      for (const [, name] of (await read(file)).matchAll(/\bnpm run ([\w:]+)/g)) {
        expect.soft(known, `${file}: npm run ${name}`).toContain(name);
      }
    }
  });
});
