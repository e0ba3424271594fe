import fc from 'fast-check';
import { expect, test } from 'vitest';
import { stringify, type SchemaOptions, type ToStringOptions } from 'yaml';
import { compileWorkflow } from './compile.ts';
import { contentHash } from './content-hash.ts';
import type { WorkflowDocument } from './document.ts';
import { FULL, GOOD_DOCUMENTS } from './documents.fixture.ts';
import { parseWorkflow } from './parse.ts';
import { readYaml } from './yaml-source.ts';

/** Whatever is parsed, each problem has its place and says what to do. */
function expectSound(text: string): void {
  const parsed = parseWorkflow(text);
  if (parsed.ok) {
    compileWorkflow(parsed.document);
    return;
  }
  expect(parsed.problems.length).toBeGreaterThan(0);
  for (const { line, column, message, fix } of parsed.problems) {
    expect(line).toBeGreaterThan(0);
    expect(column).toBeGreaterThan(0);
    expect(message).not.toBe('');
    expect(fix).not.toBe('');
  }
}

test('arbitrary text is parsed or refused, never thrown at', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), expectSound), { numRuns: 300 });
});

const KEYS =
  `id name needs if forEach retry timeout input http transform wait respond code container notebook image args env egress
  credentials secrets isolation resources cpu memory url body headers status for until
  webhook manual verify scheme filter dedupe step when steps triggers output config inputSchema type properties $ref $defs
  constructor __proto__ toString zzz \${{x}}`.split(/\s+/);
const SCALARS = [
  ...'a b 1s a.py 1Gi steps.a.output ${{trigger.body}} ${{ crm:/x https://example.com none #/$defs/a'.split(
    ' ',
  ),
  '',
  0,
  1.5,
  -1,
  true,
  false,
  null,
];
const documentish = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(...SCALARS),
    fc.dictionary(fc.constantFrom(...KEYS), tie('value'), { maxKeys: 6 }),
    fc.array(tie('value'), { maxLength: 4 }),
  ),
})).value;

test('arbitrary JSON is parsed or refused, never thrown at', () => {
  fc.assert(
    fc.property(documentish, (value) => expectSound(JSON.stringify(value))),
    { numRuns: 300 },
  );
});

test('a good document with one part replaced by anything is parsed or refused', () => {
  const base = JSON.stringify(readYaml(FULL).source?.value);
  const places = pathsIn(JSON.parse(base));
  fc.assert(
    fc.property(fc.constantFrom(...places), documentish, (path, value) => {
      const copy: unknown = JSON.parse(base);
      replaceAt(copy, path, value);
      expectSound(JSON.stringify(copy));
    }),
    { numRuns: 400 },
  );
});

test.each(GOOD_DOCUMENTS)('writing %s anew as YAML or JSON keeps its content hash', (_, text) => {
  const document = documentOf(text);
  const hash = contentHash(document);
  const spellings = fc.record<ToStringOptions & SchemaOptions>({
    indent: fc.integer({ min: 2, max: 8 }),
    defaultStringType: fc.constantFrom(
      'PLAIN',
      'QUOTE_DOUBLE',
      'QUOTE_SINGLE',
      'BLOCK_LITERAL',
      'BLOCK_FOLDED',
    ),
    collectionStyle: fc.constantFrom('any', 'block', 'flow'),
    // 0: no folding. Narrow lines break what the library itself writes at deep indentation.
    lineWidth: fc.constantFrom(0, 120),
    sortMapEntries: fc.boolean(),
  });
  fc.assert(
    fc.property(spellings, (spelling) => {
      expect(contentHash(documentOf(stringify(document, spelling)))).toBe(hash);
    }),
    { numRuns: 30 },
  );
  expect(contentHash(documentOf(JSON.stringify(document)))).toBe(hash);
});

function documentOf(text: string): WorkflowDocument {
  const parsed = parseWorkflow(text);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.document;
}

type Path = readonly (string | number)[];

function pathsIn(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const entries: readonly (readonly [string | number, unknown])[] = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries(value);
  return [
    ...(path.length > 0 ? [path] : []),
    ...entries.flatMap(([key, item]) => pathsIn(item, [...path, key])),
  ];
}

function replaceAt(root: unknown, path: Path, value: unknown): void {
  const parent = path
    .slice(0, -1)
    .reduce((node, key) => (node as Record<string | number, unknown>)[key], root);
  (parent as Record<string | number, unknown>)[path.at(-1) ?? ''] = value;
}
