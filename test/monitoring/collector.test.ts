import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { PROJECT_ROOT } from '../support/processes.ts';
import { sourceFiles } from '../support/source-files.ts';

interface Policy {
  readonly name: string;
  readonly type: string;
  readonly [settings: string]: unknown;
}
interface Collector {
  readonly receivers: Readonly<Record<string, object>>;
  readonly processors: Readonly<Record<string, object>> & {
    readonly tail_sampling: { readonly policies: readonly Policy[] };
  };
  readonly exporters: Readonly<Record<string, object>>;
  readonly service: { readonly pipelines: Readonly<Record<string, Pipeline>> };
}
interface Pipeline {
  readonly receivers: readonly string[];
  readonly processors: readonly string[];
  readonly exporters: readonly string[];
}

const FILE = 'examples/telemetry/collector-tail-sampling.yaml';
const collector = async (): Promise<Collector> =>
  parse(await readFile(join(PROJECT_ROOT, FILE), 'utf8')) as Collector; // the tests below look at it

describe(FILE, () => {
  it('puts what it configures into a pipeline of traces, and nothing else', async () => {
    const { service, receivers, processors, exporters } = await collector();
    expect(Object.keys(service.pipelines)).toEqual(['traces']);
    const { traces } = service.pipelines;
    expect(traces?.receivers).toEqual(Object.keys(receivers));
    expect(traces?.processors).toEqual(Object.keys(processors));
    expect(traces?.exporters).toEqual(Object.keys(exporters));
  });

  it('has the settings of each policy under the name of its type', async () => {
    const { policies } = (await collector()).processors.tail_sampling;
    for (const { name, type, ...settings } of policies) expect(Object.keys(settings), name).toEqual([type]);
    expect(new Set(policies.map(({ name }) => name)).size).toBe(policies.length);
  });

  it('decides by attributes that spans have', async () => {
    const files = (await sourceFiles()).map((file) => readFile(join(PROJECT_ROOT, file), 'utf8'));
    const sources = (await Promise.all(files)).join('\n');
    const keys = [...JSON.stringify(await collector()).matchAll(/"key":"([^"]+)"/g)].map(([, key]) => key!);
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) expect(sources).toContain(`'${key}'`);
  });
});
