import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../support/processes.ts';

/** What docs/metrics.md says of ours beside each name of another system. */
export async function namesBesideOthers(): Promise<readonly (readonly [theirs: string, ours: string])[]> {
  const text = await readFile(join(PROJECT_ROOT, 'docs/metrics.md'), 'utf8');
  const [, section = ''] = text.split('\n## What other systems call it\n');
  return [...section.matchAll(/^\| (`.+?) +\| (.+?) +\|$/gm)].map(([, theirs, ours]) => [theirs!, ours!]);
}

/** Every name that can be asked for, with its own labels, by docs/metrics.md: a histogram has three. */
export async function documentedMetrics(): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const text = await readFile(join(PROJECT_ROOT, 'docs/metrics.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `(millrace_\w+)` +\| (\w+)[^|]*\|([^|]*)\|/gm)];
  return new Map(
    rows.flatMap(([, name, type, labels]) => {
      const own = new Set([...labels!.matchAll(/`(\w+)`/g)].map(([, label]) => label!));
      if (type !== 'histogram') return [[name!, own] as const];
      return [
        [`${name}_bucket`, new Set([...own, 'le'])] as const,
        [`${name}_sum`, own] as const,
        [`${name}_count`, own] as const,
      ];
    }),
  );
}
