import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeMachine } from '../../../bench/platform/machine.ts';
import { PROJECT_ROOT } from '../../support/processes.ts';

/** What tests found out, for docs/kubernetes-report.md. */
export interface Report {
  /** A section under this title, made of lines of Markdown; the last one under a title wins. */
  section(title: string, lines: readonly string[]): void;
  write(): Promise<void>;
}

const FILE = join(PROJECT_ROOT, 'docs', 'kubernetes-report.md');

export function createReport(): Report {
  const sections = new Map<string, readonly string[]>();
  return {
    section(title, lines) {
      sections.set(title, lines);
      // A run of one part writes no report, but its figures are there to be read.
      process.stderr.write(`\n## ${title}\n\n${lines.join('\n')}\n`);
    },
    async write() {
      const parts = [...sections].map(([title, lines]) => `## ${title}\n\n${lines.join('\n')}\n`);
      const { cpu, cores, memoryGiB, kernel, commit } = await describeMachine();
      const head = `# Millrace on a real cluster

\`npm run test:cluster -- --report\` has written this: what its tests found on a Kubernetes of one node on
${cores} processors (${cpu}) and ${memoryGiB} GiB, Linux ${kernel}, at ${commit}. [kubernetes.md](kubernetes.md) says how to run Millrace on Kubernetes.
`;
      await writeFile(FILE, [head, ...parts].join('\n'));
    },
  };
}

/** Under the titles of what takes a quarter of an hour to build. */
export const NOT_RUN = 'Not run this time: it takes `npm run test:cluster -- --all --report`.';

/** A table of Markdown. */
export const table = (
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): readonly string[] => [
  `| ${head.join(' | ')} |`,
  `| ${head.map(() => '---').join(' | ')} |`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
];
