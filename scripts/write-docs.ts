// Writes the generated parts of docs/*.md: `npm run docs`. test/structure/docs.test.ts fails while they are not current.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { FIGURES, type FigureName } from '../bench/targets.ts';
import { statusOf } from '../src/api/http/problem.ts';
import { clientKeys, dataDirectoryKeys } from '../src/cli/config-keys.ts';
import { apiKeys } from '../src/core/config/api-keys.ts';
import type { ConfigKeys } from '../src/core/config/key.ts';
import { workerKeys } from '../src/core/config/worker-keys.ts';
import { ERRORS, type ErrorCode } from '../src/core/errors/registry.ts';
import { createMetrics } from '../src/core/telemetry/metrics.ts';

type Row = readonly string[];

const table = (titles: Row, rows: readonly Row[]): string =>
  [titles, titles.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const code = (text: string): string => (text.includes('`') ? text : `\`${text}\``);

/** Which processes read which keys. */
const READERS: Readonly<Record<string, ConfigKeys>> = {
  api: apiKeys,
  worker: workerKeys,
  dev: dataDirectoryKeys,
  'command line': clientKeys,
};

export const CONFIG_KEYS: ConfigKeys = Object.assign({}, ...Object.values(READERS));

function keysSection(): string {
  const readersOf = (name: string): readonly string[] =>
    Object.keys(READERS).filter((reader) => Object.hasOwn(READERS[reader]!, name));
  const groups = Map.groupBy(Object.keys(CONFIG_KEYS), (name) => readersOf(name).join(', '));
  return [...groups]
    .map(([readers, names]) => {
      const rows = names.map((name) => {
        const { defaultText, secret, description, schema } = CONFIG_KEYS[name]!;
        const required = !schema.safeParse(undefined).success;
        const missing = required ? '_required_' : 'unset';
        return [
          code(name),
          defaultText === undefined ? missing : /[ `]/.test(defaultText) ? defaultText : code(defaultText),
          `${secret ? '_Secret._ ' : ''}${description}`,
        ];
      });
      return `## Read by: ${readers}\n\n${table(['key', 'default', 'meaning'], rows)}`;
    })
    .join('\n\n');
}

function problemsSection(): string {
  const rows = (Object.keys(ERRORS) as ErrorCode[]).map((name) => [
    code(name),
    String(statusOf(name)),
    ERRORS[name].message.replaceAll('%s', '…'),
  ]);
  return table(['code', 'status', 'detail'], rows);
}

const BUCKETS_OF_SIZES = /batch_size$/;

function metricsSection(): string {
  const rows = createMetrics().catalog.map(({ name, type, hasExemplars, labels, source, help }) => [
    code(name),
    hasExemplars ? `${type}, exemplars` : type,
    Object.entries(labels)
      .map(([label, values]) => (values === undefined ? code(label) : `${code(label)}: ${values.join(', ')}`))
      .join('; '),
    source,
    help,
  ]);
  return table(['name', 'type', 'labels', 'from', 'meaning'], rows);
}

function bucketsSection(): string {
  const rows = createMetrics().catalog.flatMap(({ name, buckets }) =>
    buckets === undefined
      ? []
      : [[code(name), `${buckets.join(', ')}${BUCKETS_OF_SIZES.test(name) ? '' : ' s'}`]],
  );
  return table(['name', 'buckets'], rows);
}

const PERFORMANCE = 'docs/performance.md';

/** A figure as docs/performance.md has it, with its unit. */
function figureIn(performance: string, name: FigureName): string {
  const { title } = FIGURES[name];
  const row = performance.split('\n').find((line) => line.startsWith(`| ${title} `));
  const [, , measured] = row?.split('|').map((part) => part.trim().replaceAll('**', '')) ?? [];
  if (measured === undefined) throw new Error(`${PERFORMANCE} has no figure ${JSON.stringify(title)}`);
  return measured;
}

const NOT_MEASURED = 'not measured';

function capacitySection(): string {
  const performance = readFileSync(pathOf(PERFORMANCE), 'utf8');
  const of = (name: FigureName): string => figureIn(performance, name);
  return table(
    ['load', 'one of it does', 'its CPU for each', 'CPU of PostgreSQL for each', 'memory, at most'],
    [
      [
        'webhooks accepted, nothing else running',
        `${of('acceptsPerSecond')} an API`,
        of('acceptCpuApiMs'),
        of('acceptCpuPostgresMs'),
        of('apiMemoryMb'),
      ],
      [
        'webhooks accepted while a worker executes',
        `${of('mixedAcceptsPerSecond')} an API, ${of('mixedExecutionsPerSecond')} a worker`,
        NOT_MEASURED,
        NOT_MEASURED,
        NOT_MEASURED,
      ],
      [
        'executions of three `transform` steps',
        `${of('transformPerSecond')} a worker`,
        of('transformCpuWorkerMs'),
        of('transformCpuPostgresMs'),
        of('workerMemoryMb'),
      ],
      [
        'executions of three `http` steps',
        `${of('httpPerSecond')} a worker`,
        of('httpCpuWorkerMs'),
        of('httpCpuPostgresMs'),
        of('workerMemoryMb'),
      ],
      [
        'executions of one `code` step in JavaScript',
        `${of('codePerSecond')} a worker`,
        `${of('codeCpuWorkerMs')}, and ${of('codeCpuSandboxMs')} in sandboxes`,
        of('codeCpuPostgresMs'),
        `${of('usedMemoryMb')} a sandbox, beside the worker`,
      ],
      [
        'executions of one `code` step in Python',
        `${of('codePythonPerSecond')} a worker`,
        `${of('codePythonCpuWorkerMs')}, and ${of('codePythonCpuSandboxMs')} in sandboxes`,
        NOT_MEASURED,
        `${of('usedPythonMemoryMb')} a sandbox, beside the worker`,
      ],
    ],
  );
}

const SECTIONS: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  'docs/configuration.md': { keys: keysSection },
  'docs/errors.md': { problems: problemsSection },
  'docs/metrics.md': { metrics: metricsSection, buckets: bucketsSection },
  'docs/operations.md': { capacity: capacitySection },
};

export const GENERATED_DOCS = Object.keys(SECTIONS);
const pathOf = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));

/** A document as it should be: its own words, with the generated sections anew. */
export async function renderDoc(
  file: string,
): Promise<{ readonly current: string; readonly wanted: string }> {
  const current = readFileSync(pathOf(file), 'utf8');
  let text = current;
  for (const [name, render] of Object.entries(SECTIONS[file]!)) {
    const start = `<!-- generated: ${name} -->`;
    const end = '<!-- /generated -->';
    const from = text.indexOf(start);
    const to = text.indexOf(end, from);
    if (from < 0 || to < 0) throw new Error(`${file} lacks the marks ${start} and ${end}`);
    text = `${text.slice(0, from)}${start}\n\n${render()}\n\n${text.slice(to)}`;
  }
  const wanted = await format(text, { ...(await resolveConfig(pathOf(file))), parser: 'markdown' });
  return { current, wanted };
}

if (import.meta.main) {
  for (const file of GENERATED_DOCS) {
    const { current, wanted } = await renderDoc(file);
    if (wanted !== current) writeFileSync(pathOf(file), wanted);
    console.log(`${file}: ${wanted === current ? 'current' : 'written'}`);
  }
}
