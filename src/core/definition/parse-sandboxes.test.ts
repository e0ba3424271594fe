import { describe, expect, test } from 'vitest';
import { compileWorkflow } from './compile.ts';
import { parseWorkflow, type ParseOptions } from './parse.ts';
import type { CompiledBodies, StepKind } from './types.ts';

/** What steps that run in sandboxes may say; parse.test.ts looks at the places, too. */

const HEAD = 'name: w\ntriggers: { t: { manual: {} } }\nsteps:\n';
const steps = (text: string): string => HEAD + text;

function problemsOf(text: string, options?: ParseOptions): readonly string[] {
  const parsed = parseWorkflow(text, options);
  return parsed.ok ? [] : parsed.problems.map(({ code, path }) => `${code} ${path}`);
}
function problemTexts(text: string, options?: ParseOptions): string {
  const parsed = parseWorkflow(text, options);
  return parsed.ok ? '' : parsed.problems.map(({ message, fix }) => `${message} → ${fix}`).join('\n');
}

const BAD: Readonly<Record<string, readonly (readonly [string, readonly string[]])[]>> = {
  'keys of sandboxes on steps that take none of them': [
    ...['resources', 'egress', 'credentials', 'secrets', 'isolation'].flatMap((key) =>
      ['transform: "1"', 'wait: 1s'].map(
        (kind) => [steps(`  - { id: a, ${key}: 1, ${kind} }`), [`no_effect steps[0].${key}`]] as const,
      ),
    ),
    ...['resources', 'credentials', 'secrets', 'isolation'].map(
      (key) =>
        [
          steps(`  - { id: a, ${key}: 1, http: { url: "http://a/" } }`),
          [`no_effect steps[0].${key}`],
        ] as const,
    ),
    [steps('  - { id: a, isolation: x, container: { image: b } }'), ['no_effect steps[0].isolation']],
    ...['egress', 'credentials'].map(
      (key) =>
        [
          steps(`  - { id: a, ${key}: [b], container: { image: b } }`),
          [`not_supported steps[0].${key}`],
        ] as const,
    ),
  ],
  'code and notebook': [
    ...[
      '""',
      'a',
      'a.txt',
      'a.rb',
      '.ts',
      'dir/.ts',
      'a.ts/',
      '/a.ts',
      '~/a.ts',
      'a/../../b.ts',
      '../b.ts',
      './a.ts',
      'a//b.ts',
      'a/./b.ts',
      'a\\b.ts',
      'C:/a.ts',
      'https://example.com/a.ts',
      'a.ipynb',
      '"a\\nb.ts"',
      '5',
      '{}',
      '[a.ts]',
      '"${{ trigger.body.file }}.ts"',
      'null',
      `"${'d/'.repeat(127)}a.ts"`,
      '"a\\0.ts"',
      'a.TS',
    ].map((file) => [steps(`  - { id: a, code: ${file} }`), ['invalid_value steps[0].code']] as const),
    ...['a.py', '/a.ipynb', '../a.ipynb', 'a.IPYNB'].map(
      (file) => [steps(`  - { id: a, notebook: ${file} }`), ['invalid_value steps[0].notebook']] as const,
    ),
    ...['ts', 'mts', 'cts', 'tsx', 'js', 'mjs', 'cjs', 'jsx'].map(
      (ending) =>
        [
          steps(`  - { id: a, isolation: process, code: a.${ending} }`),
          ['conflict steps[0].isolation'],
        ] as const,
    ),
    [steps('  - { id: a, isolation: none, code: a.py }'), ['invalid_value steps[0].isolation']],
    [
      steps('  - { id: a, needs: [b], input: "${{ steps.c.output }}", code: a.py }'),
      ['unknown_step steps[0].needs[0]', 'unknown_step steps[0].input'],
    ],
  ],
  'egress, credentials and secrets': [
    ...[
      '"*"',
      '"*.com"',
      '"*.*.example.com"',
      'https://example.com',
      'example.com/path',
      'a b',
      'u@example.com',
      'example.com:',
      'example.com:99999',
      '"a.*.com"',
      '5',
      '""',
      '"${{ trigger.body.host }}"',
      '"*.1.2.3.4"',
    ].map(
      (host) =>
        [
          steps(`  - { id: a, code: a.ts, egress: [${host}] }`),
          ['invalid_value steps[0].egress[0]'],
        ] as const,
    ),
    [steps('  - { id: a, code: a.ts, egress: example.com }'), ['invalid_value steps[0].egress']],
    [steps('  - { id: a, egress: [a, b, a], http: { url: "http://a/" } }'), ['conflict steps[0].egress[2]']],
    ...[
      ['[]', 'https://example.com'],
      ['[example.com]', 'https://example.com:8443/x'],
      ['[example.com]', 'https://www.example.com/${{ trigger.body.x }}'],
      ['["*.example.com"]', 'https://example.com?q=1'],
      ['["example.com:443"]', 'http://example.com/'],
    ].map(
      ([egress, url]) =>
        [
          steps(`  - { id: a, egress: ${egress}, http: { url: "${url}" } }`),
          ['conflict steps[0].http.url'],
        ] as const,
    ),
    [steps('  - { id: a, code: a.ts, credentials: crm }'), ['invalid_value steps[0].credentials']],
    [steps('  - { id: a, code: a.ts, credentials: [A] }'), ['invalid_value steps[0].credentials[0]']],
    [steps('  - { id: a, code: a.ts, credentials: [https] }'), ['invalid_value steps[0].credentials[0]']],
    [steps('  - { id: a, code: a.ts, secrets: [b, c, b] }'), ['conflict steps[0].secrets[2]']],
    [steps('  - { id: a, notebook: a.ipynb, secrets: [5] }'), ['invalid_value steps[0].secrets[0]']],
  ],
  resources: [
    ...['0', '0.05', '65', '-1', '"1 core"', '50m', '65000m', '0.5m', '[1]', 'null'].map(
      (cpu) =>
        [
          steps(`  - { id: a, code: a.ts, resources: { cpu: ${cpu} } }`),
          ['invalid_value steps[0].resources.cpu'],
        ] as const,
    ),
    ...['0', '1', '63Mi', '512MB', '512mb', '1.5.0Gi', '257Gi', '"1 Gi"', '-1Gi', '67108864.5', '[]'].map(
      (memory) =>
        [
          steps(`  - { id: a, code: a.ts, resources: { memory: ${memory} } }`),
          ['invalid_value steps[0].resources.memory'],
        ] as const,
    ),
    [steps('  - { id: a, code: a.ts, resources: {} }'), ['required steps[0].resources']],
    [steps('  - { id: a, code: a.ts, resources: 1 }'), ['invalid_value steps[0].resources']],
    [steps('  - { id: a, code: a.ts, resources: { cpus: 1 } }'), ['unknown_key steps[0].resources.cpus']],
  ],
  container: [
    [steps('  - { id: a, container: alpine }'), ['invalid_value steps[0].container']],
    [steps('  - { id: a, container: {} }'), ['required steps[0].container.image']],
    ...[
      '""',
      'Alpine',
      'ghcr.io/Acme/tool',
      '"a b"',
      '/a',
      'a/',
      'a//b',
      '"a:"',
      'a@sha256:abc',
      '5',
      'https://ghcr.io/a',
      '"a:${{ trigger.body.tag }}"',
      '"-a"',
      'a..b',
      'a___b',
      `a:${'t'.repeat(129)}`,
      'a'.repeat(256),
    ].map(
      (image) =>
        [
          steps(`  - { id: a, container: { image: ${image} } }`),
          ['invalid_value steps[0].container.image'],
        ] as const,
    ),
    [
      steps('  - { id: a, container: { image: b, command: run, args: [{}], env: [], entrypoint: c } }'),
      [
        'invalid_value steps[0].container.command',
        'invalid_value steps[0].container.args[0]',
        'invalid_value steps[0].container.env',
        'unknown_key steps[0].container.entrypoint',
      ],
    ],
    [
      steps('  - { id: a, container: { image: b, command: [], env: { "a-b": 1, c: null } } }'),
      [
        'invalid_value steps[0].container.command',
        'invalid_value steps[0].container.env.a-b',
        'invalid_value steps[0].container.env.c',
      ],
    ],
    [
      steps(
        '  - { id: a, container: { image: b, args: ["${{ nope }}"], env: { A: "${{ steps.x.output }}" } } }',
      ),
      ['invalid_expression steps[0].container.args[0]', 'unknown_step steps[0].container.env.A'],
    ],
    [
      steps('  - { id: a, secrets: [api-key], container: { image: b, env: { API_KEY: c } } }'),
      ['conflict steps[0].container.env.API_KEY'],
    ],
  ],
};

describe.each(Object.entries(BAD))('parseWorkflow refuses, in %s,', (_, table) => {
  test.each(table.map(([text, problems]) => [text.slice(HEAD.length), text, problems] as const))(
    '%s',
    (_label, text, problems) => {
      expect(problemsOf(text)).toEqual(problems);
      expect(problemTexts(text)).not.toMatch(/undefined|\[object|"what"|"findings"/);
    },
  );
});

describe('the fix names what to write', () => {
  test.each([
    ['code: ./a/b.ts', '→ write `a/b.ts`'],
    ['code: a\\b.ts', '→ write `a/b.ts`'],
    ['code: a.txt', 'must end in one of .ts, .mts, .cts, .tsx, .js, .mjs, .cjs, .jsx, .py'],
    ['code: "export default () => 1\\n"', 'must be the path of a file, not its text'],
    ['code: ../a.ts', 'must stay within the folder of the workflow'],
    ['code: a.ts, egress: ["https://api.example.com:8443/v1"]', '→ write `api.example.com:8443`'],
    ['code: a.ts, egress: ["*"]', 'list the hosts that the step calls'],
    [
      'code: a.ts, resources: { memory: 1MB }',
      'from 64Mi to 256Gi, got "1MB" → write an amount such as `512Mi`',
    ],
    ['container: { image: Alpine }', '→ write `alpine`'],
    ['container: { image: "ghcr.io:443/Acme/Tool:V1" }', '→ write `ghcr.io:443/acme/tool:V1`'],
    ['container: { image: "a:${{ 1 }}" }', 'no data decides what runs'],
    [
      'transform: "1", egress: [b]',
      'no effect on a step of kind `transform` → remove it; it is for steps of kind `http`, `code` and `notebook`',
    ],
    ['http: { url: "http://a/" }, credentials: [b]', '→ write `http: { credential: <name> }`'],
    ['container: { image: a }, egress: [b]', 'call the service from an `http` or `code` step'],
    ['code: a.ts, isolation: process', '→ write `isolation: execution`'],
  ])('%s', (keys, expected) => {
    expect(problemTexts(steps(`  - { id: a, ${keys} }`))).toContain(expected);
  });
});

function compiled<K extends StepKind>(kind: K, keys: string): CompiledBodies[K] {
  const parsed = parseWorkflow(steps(`  - { id: a, ${keys} }`));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  // As the worker gets it: out of a `json` column.
  const [step] = compileWorkflow(JSON.parse(JSON.stringify(parsed.document)) as typeof parsed.document).steps;
  expect(step?.kind).toBe(kind);
  return step?.body as CompiledBodies[K]; // of that kind, as was just seen
}

describe('a compiled step', () => {
  const nothing = {
    egress: [],
    credentials: [],
    secrets: [],
    isolation: 'shared',
    cpus: undefined,
    memoryBytes: undefined,
  };

  test.each([
    ...['ts', 'mts', 'cts', 'tsx'].map((ending) => [ending, 'typescript'] as const),
    ...['js', 'mjs', 'cjs', 'jsx'].map((ending) => [ending, 'javascript'] as const),
    ['py', 'python'] as const,
  ])('in a file .%s is %s', (ending, language) => {
    const file = `steps/my score.v2.${ending}`;
    expect(compiled('code', `code: ${file}`)).toEqual({ ...nothing, file, language });
  });

  test('of code has what it may use', () => {
    const keys =
      'code: a.py, egress: [API.example.com, "*.example.org", "[2001:db8::1]:8443"], credentials: [crm, erp], ' +
      'secrets: [key], isolation: process, resources: { cpu: 500m, memory: 1.5Gi }';
    expect(compiled('code', keys)).toEqual({
      file: 'a.py',
      language: 'python',
      egress: [
        { host: 'api.example.com', port: undefined, isSuffix: false },
        { host: 'example.org', port: undefined, isSuffix: true },
        { host: '[2001:db8::1]', port: '8443', isSuffix: false },
      ],
      credentials: ['crm', 'erp'],
      secrets: ['key'],
      isolation: 'process',
      cpus: 0.5,
      memoryBytes: 1.5 * 1024 ** 3,
    });
  });

  test('of a notebook has what it may use', () => {
    expect(compiled('notebook', 'notebook: a/b.ipynb, isolation: execution, resources: { cpu: 2 }')).toEqual({
      ...nothing,
      file: 'a/b.ipynb',
      isolation: 'execution',
      cpus: 2,
    });
  });

  test('of a container always has a sandbox of its own', () => {
    const keys =
      'container: { image: "ghcr.io/acme/tool:1.2" }, secrets: [key], resources: { memory: 268435456 }';
    expect(compiled('container', keys)).toEqual({
      ...nothing,
      image: 'ghcr.io/acme/tool:1.2',
      command: undefined,
      args: undefined,
      env: undefined,
      secrets: ['key'],
      isolation: 'execution',
      memoryBytes: 268_435_456,
    });
  });

  test.each([
    'alpine',
    'alpine:3',
    'library/alpine',
    'localhost:5000/a/b_c/d__e/f-g.h:1.0-rc_1',
    '"[::1]:5000/a"',
    `ghcr.io/acme/tool:1@sha256:${'0a'.repeat(32)}`,
    `Registry.example.com/a@sha512:${'0a'.repeat(64)}`,
  ])('runs the image %s', (image) => {
    expect(compiled('container', `container: { image: ${image} }`).image).toBe(image.replaceAll('"', ''));
  });
});

test.each([
  ['[example.com]', 'url: "https://EXAMPLE.com./x"'],
  ['["*.example.com:8443"]', 'url: "https://a.b.example.com:8443/${{ trigger.body.x }}"'],
  ['[example.com]', 'url: "https://${{ trigger.body.host }}.example.org/"'],
  ['[example.com]', 'url: "https://example.org${{ trigger.body.path }}"'],
  ['[]', 'url: "crm:/x"'],
  ['[]', 'url: "https://example.com/", credential: crm'],
])('an http step with egress %s may have %s', (egress, keys) => {
  expect(problemsOf(steps(`  - { id: a, egress: ${egress}, http: { ${keys} } }`))).toEqual([]);
});

describe('what the installation knows', () => {
  const text = steps(`
  - { id: a, code: steps/score.ts, credentials: [crm, key], secrets: [key, crm, nope], resources: { cpu: 4, memory: 2Gi } }
  - { id: b, notebook: analysis/report.ipynb, credentials: [nope] }
  - { id: c, container: { image: d }, secrets: [crm], resources: { cpu: 2, memory: 1Gi } }
  - { id: d, http: { url: "key:/x" }, egress: [example.com] }
`);

  test('is not asked for', () => {
    expect(problemsOf(text)).toEqual([]);
  });

  test('of credentials: names', () => {
    expect(problemsOf(text, { hasCredential: (name) => name !== 'nope' })).toEqual([
      'unknown_credential steps[0].secrets[2]',
      'unknown_credential steps[1].credentials[0]',
    ]);
  });

  test('of credentials: types', () => {
    const types = { crm: 'bearer', key: 'secret' } as const;
    const credentialType = (name: string) => (name === 'crm' || name === 'key' ? types[name] : undefined);
    expect(problemsOf(text, { credentialType })).toEqual([
      'invalid_value steps[0].credentials[1]',
      'invalid_value steps[0].secrets[1]',
      'invalid_value steps[2].secrets[0]',
      'invalid_value steps[3].http.url',
    ]);
    expect(problemTexts(text, { credentialType }).split('\n')).toEqual([
      expect.stringMatching(/^credential `key` is of type secret.*→.*list it under `secrets`$/),
      expect.stringMatching(/^credential `crm` is of type bearer.*→ list it under `credentials`/),
      expect.stringMatching(
        /^credential `crm` is of type bearer.*→ save the value as a credential of type secret/,
      ),
      expect.stringMatching(
        /^credential `key` is of type secret.*→ name one of type bearer, basic or api-key$/,
      ),
    ]);
  });

  test('of a webhook’s secret: nothing but its name', () => {
    const webhook =
      '{name: w, triggers: {t: {webhook: {verify: {scheme: github, credential: gh}}}}, steps: [{id: a, wait: 1s}]}';
    expect(problemsOf(webhook, { credentialType: () => 'bearer' })).toEqual([]);
  });

  test('of resources', () => {
    expect(problemsOf(text, { maxResources: { cpus: 2, memoryBytes: 1024 ** 3 } })).toEqual([
      'invalid_value steps[0].resources.cpu',
      'invalid_value steps[0].resources.memory',
    ]);
    expect(problemTexts(text, { maxResources: { cpus: 4, memoryBytes: 1024 ** 3 } })).toContain(
      '`memory` must be at most 1Gi here, got "2Gi"',
    );
  });

  test('of files', () => {
    const both = ['steps/score.ts', 'analysis/report.ipynb'];
    expect(problemsOf(text, { files: new Set(both) })).toEqual([]);
    expect(problemsOf(text, { files: new Set() })).toEqual([
      'unknown_file steps[0].code',
      'unknown_file steps[1].notebook',
    ]);
  });

  test.each([
    [['steps/scores.ts', 'x.ts'], 'did you mean `steps/scores.ts`? `millrace deploy` sends'],
    [['steps/scores.ts', 'src/score.ts'], 'did you mean `src/score.ts`?'],
    [['unlike.py'], '→ save the workflow with `millrace deploy`'],
    [[], '→ save the workflow with `millrace deploy`'],
  ])('of the files %j, says which was meant', (files, expected) => {
    expect(problemTexts(steps('  - { id: a, code: steps/score.ts }'), { files: new Set(files) })).toContain(
      expected,
    );
  });

  test('is compared in bounded time', { timeout: 60_000 }, () => {
    const files = new Set(Array.from({ length: 5000 }, (_, n) => `${n}${'d'.repeat(240)}.ts`));
    const many = Array.from({ length: 500 }, (_, n) => `  - { id: s${n}, code: ${n}${'e'.repeat(240)}.ts }`);
    const start = performance.now();
    parseWorkflow(steps(many.join('\n')), { files });
    expect(performance.now() - start).toBeLessThan(40_000);
  });
});
