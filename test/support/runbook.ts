import { execFile } from 'node:child_process';
import { PROJECT_ROOT } from './processes.ts';

/** A command of a document, and what the document shows that it prints. */
export interface ShownCommand {
  readonly command: string;
  readonly output: string;
  /** What it prints while the page's fault lasts, where the page shows that, too. */
  readonly faulty: string | undefined;
}

const TEXT = '```text\\n((?:(?!```).*\\n)*)```';
const SHOWN = new RegExp(
  `^\`\`\`sh\\n((?:(?!\`\`\`).*\\n)*)\`\`\`\\n\\n${TEXT}(?:\\n\\nWhile .*:\\n\\n${TEXT})?`,
  'gm',
);

/**
 * Blocks of `sh` that a block of `text` follows; others change something, or need what a test does not have. A second block,
 * after a line such as “While Redis is gone:”, is of the fault.
 */
export const shownCommands = (markdown: string): readonly ShownCommand[] =>
  [...markdown.matchAll(SHOWN)].map(([, command, output, faulty]) => ({
    command: command!.trim(),
    output: output!.trimEnd(),
    faulty: faulty?.trimEnd(),
  }));

/** Blocks of `sh` that show no output: what mends something. */
export const mendingCommands = (markdown: string): readonly string[] =>
  [...markdown.matchAll(/^```sh\n((?:(?!```).*\n)*)```\n(?!\n```text)/gm)].map(([, command]) =>
    command!.trim(),
  );

/** As somebody runs it who has pasted it into a shell. */
export function runCommand(command: string, env: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((resolve) => {
    const { PATH = '', HOME = '' } = process.env;
    execFile(
      'bash',
      ['-c', command],
      { cwd: PROJECT_ROOT, env: { PATH, HOME, LANG: 'C.UTF-8', PAGER: 'cat', ...env }, timeout: 120_000 },
      // What it prints is what the reader sees; `grep` after it hides its status anyway.
      (_error, stdout, stderr) => resolve(stdout.trimEnd() === '' ? stderr.trimEnd() : stdout.trimEnd()),
    );
  });
}

/**
 * What a shown output stands for: numbers are examples, columns are as wide as they have to be, `…` is anything on its line,
 * and one or more lines on a line of its own.
 */
export function shapeOf(output: string): RegExp {
  const lines = output
    .split('\n')
    .map((line) => (line.trim() === '…' ? '(?:.*\\n)+' : `${lineShape(line)}\\n`));
  return new RegExp(`^${lines.join('')}$`);
}

function lineShape(line: string): string {
  const parts = line.trim().matchAll(/…|-?\d[\d.]*|--+|\s+|[^\s\d…-]+|-/g);
  const shape = [...parts].map(([part]) => {
    if (part === '…') return '.*';
    if (/^-?\d/.test(part)) return '-?\\d[\\d.]*(?:e[-+]?\\d+)?';
    if (part.startsWith('--')) return '-+';
    if (/^\s/.test(part)) return '\\s+';
    return part.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
  });
  return `[ \\t]*${shape.join('').replaceAll('\\s+.*', '.*').replaceAll('.*\\s+', '.*')}[ \\t]*`;
}

export const hasShape = (actual: string, shown: string): boolean =>
  shapeOf(shown).test(`${actual.replaceAll('\r', '')}\n`);
