import type { JsonObject } from '../../../src/core/json.ts';
import type { Runtime } from '../../../src/worker/sandbox/driver.ts';
import { CREDENTIAL } from '../../platform/installation.ts';

/** A workflow with one code step, and the files it needs. */
export interface CodeWorkflow {
  readonly definition: string;
  readonly files: JsonObject;
}

const SMALL: Readonly<Record<Runtime, { readonly file: string; readonly source: string }>> = {
  javascript: {
    file: 'steps/shape.js',
    source: `export default async (ctx, input) => {
  const { ref, number, repository } = input.body;
  return { text: \`\${repository.full_name} on \${ref.slice(11)}\`, doubled: number * 2, key: ctx.idempotencyKey };
};
`,
  },
  python: {
    file: 'steps/shape.py',
    source: `def run(ctx, input):
    body = input["body"]
    text = f"{body['repository']['full_name']} on {body['ref'][11:]}"
    return {"text": text, "doubled": body["number"] * 2, "key": ctx.idempotency_key}
`,
  },
};

/** A step of a few lines that reads its input and makes an object of it. */
export const smallStep = (
  runtime: Runtime,
  options: { readonly name?: string; readonly isolation?: 'execution' } = {},
): CodeWorkflow => codeWorkflow(options.name ?? 'small', SMALL[runtime].file, SMALL[runtime].source, options);

const LARGE_BYTES = 160_000;

/** The same with a library of {@link LARGE_BYTES} beside it, all of which is set up when the file is loaded. */
export function largeStep(): CodeWorkflow {
  const { file, source } = SMALL.javascript;
  const parts: string[] = [];
  for (let bytes = 0; bytes < LARGE_BYTES; bytes += parts.at(-1)!.length) parts.push(makePart(parts.length)); // just pushed
  const library = `${parts.join('')}export const total = [${parts.map((_, n) => `part${n}`).join(',')}].length;\n`;
  return codeWorkflow(
    'large',
    file,
    `import { total } from './library.js';\nif (total === 0) throw 0;\n${source}`,
    {
      files: { 'steps/library.js': library },
    },
  );
}

/** As bundles of libraries are: tables and functions, of which a run calls few. */
const makePart = (n: number): string => `const part${n} = {
  name: 'part-${n}',
  table: [${Array.from({ length: 12 }, (_, index) => `{ id: ${n * 12 + index}, label: 'entry ${index} of ${n}' }`).join(', ')}],
  find(id) {
    for (const entry of this.table) if (entry.id === id) return { ...entry, found: true, by: 'part-${n}' };
    throw new RangeError(\`there is no entry \${id} in part ${n}\`);
  },
};
part${n}.find(${n * 12});
`;

function codeWorkflow(
  name: string,
  file: string,
  source: string,
  options: { readonly isolation?: 'execution'; readonly files?: JsonObject },
): CodeWorkflow {
  const definition = `
name: ${name}
triggers:
  in:
    webhook:
      verify: { scheme: github, credential: ${CREDENTIAL} }
steps:
  - id: shape
    code: ${file}
${options.isolation === undefined ? '' : `    isolation: ${options.isolation}\n`}output: steps.shape.output
`;
  return { definition, files: { ...options.files, [file]: source } };
}
