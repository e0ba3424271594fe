import { describe, expect, test } from 'vitest';
import { GOOD_DOCUMENTS } from './documents.fixture.ts';
import { FINDING_CODES } from './findings.ts';
import { parseWorkflow, type ParseOptions } from './parse.ts';

/** `line:column code path`, which is all that a reader needs to find the problem. */
function problemsOf(text: string, options?: ParseOptions): readonly string[] {
  const parsed = parseWorkflow(text, options);
  return parsed.ok
    ? []
    : parsed.problems.map(({ line, column, code, path }) => `${line}:${column} ${code} ${path}`);
}
function problemTexts(text: string, options?: ParseOptions): string {
  const parsed = parseWorkflow(text, options);
  return parsed.ok ? '' : parsed.problems.map(({ message, fix }) => `${message} → ${fix}`).join('\n');
}

describe('parseWorkflow takes', () => {
  test.each(GOOD_DOCUMENTS)('%s', (_, text) => {
    expect(problemsOf(text, { hasCredential: () => true })).toEqual([]);
  });

  test('a document and gives it back as it was written', () => {
    const parsed = parseWorkflow('name: w\ntriggers: {t: {manual: {}}}\nsteps: [{id: a, wait: 1s}]');
    expect(parsed).toMatchObject({
      ok: true,
      document: { name: 'w', triggers: { t: { manual: {} } }, steps: [{ id: 'a', wait: '1s' }] },
      warnings: [],
    });
  });
});

test('five mistakes give five problems, each with its place, its reason and a fix', () => {
  const text = `name: Order Intake
triggers:
  orders:
    webhook: { verify: { scheme: none } }
steps:
  - id: fetch
    http: { url: "https://example.com/", metod: POST }
    timeout: 30
  - id: notify
    needs: [fetsh]
    transform: '{"total": trigger.body.total * }'
`;
  const parsed = parseWorkflow(text);
  expect(parsed.ok ? [] : parsed.problems).toEqual([
    {
      path: 'name',
      line: 1,
      column: 7,
      code: 'invalid_value',
      message:
        '`name` must be lower-case letters, digits and single dashes, beginning with a letter, at most 63 characters, got "Order Intake"',
      fix: 'write a name such as `order-intake`',
    },
    {
      path: 'steps[0].http.metod',
      line: 7,
      column: 42,
      code: 'unknown_key',
      message: '`metod` is not a known key here',
      fix: 'did you mean `method`?',
    },
    {
      path: 'steps[0].timeout',
      line: 8,
      column: 14,
      code: 'invalid_value',
      message: '`timeout` must be a duration from 1ms to 1d, got 30',
      fix: 'write a whole number and a unit (ms, s, m, h, d), such as `30s`',
    },
    {
      path: 'steps[1].needs[0]',
      line: 10,
      column: 13,
      code: 'unknown_step',
      message: 'there is no step `fetsh`',
      fix: 'did you mean `fetch`?',
    },
    expect.objectContaining({ path: 'steps[1].transform', line: 11, code: 'invalid_expression' }),
  ]);
});

/** The head takes lines 1 to 3, so the steps begin in line 4. */
const steps = (text: string): string => `name: w\ntriggers: { t: { manual: {} } }\nsteps:\n${text}`;
const ok = '  - { id: ok, transform: "1" }\n';
/** The webhook's keys begin at column 1 of line 2. */
const webhook = (text: string): string =>
  `{name: w, triggers: {t: {webhook: {verify: {scheme: none},\n${text}\n}}}, steps: [{id: a, transform: "1"}]}`;

const BAD: Readonly<Record<string, readonly (readonly [string, readonly string[]])[]>> = {
  'the document': [
    ['', ['1:1 yaml_syntax ']],
    ['[]', ['1:1 invalid_value ']],
    ['just text', ['1:1 invalid_value ']],
    ['{}', ['1:1 required name', '1:1 required triggers', '1:1 required steps']],
    [`name: 5\n${steps(ok).slice(8)}`, ['1:7 invalid_value name']],
    [`${steps(ok)}descripton: x`, ['5:1 unknown_key descripton']],
    [`${steps(ok)}version: "1"`, ['5:1 unknown_key version']],
    [`${steps(ok)}timeout: 31d`, ['5:10 invalid_value timeout']],
    [`${steps(ok)}config: [1]`, ['5:9 invalid_value config']],
    [`${steps(ok)}output: 5`, ['5:9 invalid_value output']],
    [`${steps(ok)}output: steps.nope.output`, ['5:9 unknown_step output']],
    [`${steps(ok)}output: { a: "\${{ item }}" }`, ['5:19 invalid_expression output.a']],
    [`${steps(ok)}inputSchema: { type: objekt }`, ['5:22 invalid_value inputSchema.type']],
    [`${steps(ok)}inputSchema: 5`, ['5:14 invalid_value inputSchema']],
    [
      webhook('}}}, inputSchema: {}, steps: [{id: b, transform: "1"}], x: {y: {z: {'),
      ['2:57 unknown_key x', '3:6 duplicate_key steps'],
    ],
  ],
  'what later releases build': [
    ...['concurrency', 'onFailure', 'finally', 'priority', 'tags', 'defaults', 'parallelism'].map(
      (key) => [`${steps(ok)}${key}: 1`, [`5:1 not_supported ${key}`]] as const,
    ),
    ...['approval', 'workflow', 'emit', 'llm'].map(
      (kind) => [steps(`  - { id: a, ${kind}: {} }`), [`4:14 not_supported steps[0].${kind}`]] as const,
    ),
    ...['schedule', 'event', 'workflow'].map(
      (type) => [steps(ok).replace('manual', type), [`2:18 not_supported triggers.t.${type}`]] as const,
    ),
    ...['gitlab', 'shopify', 'jwt'].map(
      (scheme) =>
        [
          webhook('').replace('none', scheme),
          ['1:53 not_supported triggers.t.webhook.verify.scheme'],
        ] as const,
    ),
    [webhook('path: orders'), ['2:1 not_supported triggers.t.webhook.path']],
  ],
  triggers: [
    ['name: w\ntriggers: {}\nsteps:\n' + ok, ['2:11 invalid_value triggers']],
    ['name: w\ntriggers: [webhook]\nsteps:\n' + ok, ['2:11 invalid_value triggers']],
    [steps(ok).replace('t:', '"a b":'), ['2:13 invalid_value triggers["a b"]']],
    [steps(ok).replace('manual: {}', ''), ['2:16 required triggers.t']],
    [steps(ok).replace('manual: {}', 'webhok: {}'), ['2:18 unknown_key triggers.t.webhok']],
    [steps(ok).replace('manual: {}', 'manual: { a: 1 }'), ['2:28 unknown_key triggers.t.manual.a']],
    [
      steps(ok).replace('manual: {}', 'manual: {}, webhook: {verify: {scheme: none}}'),
      ['2:30 conflict triggers.t.webhook'],
    ],
    [steps(ok).replace('manual', 'webhook'), ['2:27 required triggers.t.webhook.verify']],
    [webhook('').replace('none', 'githb'), ['1:53 invalid_value triggers.t.webhook.verify.scheme']],
    [webhook('').replace('scheme: none', ''), ['1:44 required triggers.t.webhook.verify.scheme']],
    [webhook('').replace('none', 'github'), ['1:44 required triggers.t.webhook.verify.credential']],
    [
      webhook('').replace('none', 'github, credental: x'),
      [
        '1:44 required triggers.t.webhook.verify.credential',
        '1:61 unknown_key triggers.t.webhook.verify.credental',
      ],
    ],
    [webhook('filter: true'), ['2:9 invalid_value triggers.t.webhook.filter']],
    [webhook('filter: body.a =='), ['2:18 invalid_expression triggers.t.webhook.filter']],
    [webhook('filter: steps.a.output'), ['2:9 invalid_expression triggers.t.webhook.filter']],
    [webhook('filter: "${{ body.a }}"'), ['2:10 invalid_expression triggers.t.webhook.filter']],
    [webhook('respond: reslt'), ['2:10 invalid_value triggers.t.webhook.respond']],
    [webhook('wait: 5s'), ['2:1 no_effect triggers.t.webhook.wait']],
    [webhook('respond: result, wait: 2m'), ['2:24 invalid_value triggers.t.webhook.wait']],
    [webhook('dedupe: true'), ['2:9 invalid_value triggers.t.webhook.dedupe']],
    [webhook('dedupe: { header: "a b" }'), ['2:19 invalid_value triggers.t.webhook.dedupe.header']],
    [webhook('dedupe: { key: "body." }'), ['2:22 invalid_expression triggers.t.webhook.dedupe.key']],
  ],
  'ids and needs': [
    [steps('  - { transform: "1" }'), ['4:5 required steps[0].id']],
    [steps('  - just text'), ['4:5 invalid_value steps[0]']],
    [steps('  - { id: "a b", transform: "1" }'), ['4:11 invalid_value steps[0].id']],
    [steps(ok + ok), ['5:11 duplicate_step steps[1].id']],
    [steps('  - { id: a, needs: [a], transform: "1" }'), ['4:22 cycle steps[0].needs[0]']],
    [steps('  - { id: a, needs: b, transform: "1" }'), ['4:21 invalid_value steps[0].needs']],
    [
      steps('  - { id: a, needs: [b, { step: c }], transform: "1" }'),
      ['4:22 unknown_step steps[0].needs[0]', '4:33 unknown_step steps[0].needs[1].step'],
    ],
    [steps(`${ok}  - { id: a, needs: [ok, ok], transform: "1" }`), ['5:26 conflict steps[1].needs[1]']],
    [
      steps(`${ok}  - { id: a, needs: [{ step: ok, when: allways }], transform: "1" }`),
      ['5:40 invalid_value steps[1].needs[0].when'],
    ],
    [
      steps(
        '  - { id: a, needs: [c], transform: "1" }\n  - { id: b, needs: [a], transform: "1" }\n  - { id: c, needs: [b], transform: "1" }',
      ),
      ['4:14 cycle steps[0].needs'],
    ],
  ],
  kinds: [
    [steps('  - { id: a }'), ['4:5 required steps[0]']],
    [steps('  - { id: a, htpp: { url: x } }'), ['4:14 unknown_key steps[0].htpp']],
    [
      steps('  - { id: a, transform: "1", wait: 1s, timeout: x }'),
      ['4:30 conflict steps[0].wait', '4:49 invalid_value steps[0].timeout'],
    ],
    [
      steps('  - { id: a, llm: {}, egress: 1, retry: { attempts: 0 } }'),
      [
        '4:14 not_supported steps[0].llm',
        '4:31 invalid_value steps[0].egress',
        '4:53 invalid_value steps[0].retry.attempts',
      ],
    ],
    [steps('  - { id: a, isolation: execution }'), ['4:5 required steps[0]']],
    [
      steps('  - { id: a, code: a.ts, container: { image: b }, isolation: execution }'),
      ['4:26 conflict steps[0].container'],
    ],
  ],
  'common keys': [
    [steps('  - { id: a, if: 1, transform: "1" }'), ['4:18 invalid_value steps[0].if']],
    [steps('  - { id: a, if: "${{ true }}", transform: "1" }'), ['4:19 invalid_expression steps[0].if']],
    [steps('  - { id: a, if: index > 1, transform: "1" }'), ['4:18 invalid_expression steps[0].if']],
    [steps('  - { id: a, forEach: 3, transform: "1" }'), ['4:23 invalid_value steps[0].forEach']],
    [steps('  - { id: a, forEach: item.x, transform: item }'), ['4:23 invalid_expression steps[0].forEach']],
    [steps('  - { id: a, parallelism: 3, transform: "1" }'), ['4:14 no_effect steps[0].parallelism']],
    [
      steps('  - { id: a, forEach: [1], parallelism: 101, transform: "1" }'),
      ['4:41 invalid_value steps[0].parallelism'],
    ],
    [steps('  - { id: a, timeout: 25h, transform: "1" }'), ['4:23 invalid_value steps[0].timeout']],
    [
      steps('  - { id: a, continueOnError: yes, transform: "1" }'),
      ['4:31 invalid_value steps[0].continueOnError'],
    ],
    [steps('  - { id: a, retry: 5, transform: "1" }'), ['4:21 invalid_value steps[0].retry']],
    [
      steps('  - { id: a, retry: { backoff: linear }, transform: "1" }'),
      ['4:32 invalid_value steps[0].retry.backoff'],
    ],
    [
      steps('  - { id: a, retry: { backoff: fixed, max: 1s }, transform: "1" }'),
      ['4:39 no_effect steps[0].retry.max'],
    ],
    [
      steps('  - { id: a, retry: { backoff: [1s], initial: 1s }, transform: "1" }'),
      ['4:38 no_effect steps[0].retry.initial'],
    ],
    [
      steps('  - { id: a, retry: { initial: 1m, max: 1s }, transform: "1" }'),
      ['4:32 conflict steps[0].retry.initial'],
    ],
    [steps('  - { id: a, atMostOnce: true, retry: {}, transform: "1" }'), ['4:32 conflict steps[0].retry']],
    [
      steps('  - { id: a, input: "${{ steps.b.output }}", transform: "1" }'),
      ['4:26 unknown_step steps[0].input'],
    ],
  ],
  http: [
    [steps('  - { id: a, http: "https://example.com" }'), ['4:20 invalid_value steps[0].http']],
    [steps('  - { id: a, http: {} }'), ['4:20 required steps[0].http.url']],
    [steps('  - { id: a, http: { url: example.com } }'), ['4:27 invalid_value steps[0].http.url']],
    [steps('  - { id: a, http: { url: "ftp://example.com" } }'), ['4:27 invalid_value steps[0].http.url']],
    [steps('  - { id: a, http: { url: "https:/example.com" } }'), ['4:27 invalid_value steps[0].http.url']],
    [
      steps('  - { id: a, http: { url: "https://u:p@example.com" } }'),
      ['4:27 invalid_value steps[0].http.url'],
    ],
    [steps('  - { id: a, http: { url: "http://a b/" } }'), ['4:27 invalid_value steps[0].http.url']],
    [
      steps('  - { id: a, http: { url: "crm:/x", credential: other } }'),
      ['4:49 conflict steps[0].http.credential'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", credential: "A B" } }'),
      ['4:52 invalid_value steps[0].http.credential'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", method: post } }'),
      ['4:48 invalid_value steps[0].http.method'],
    ],
    [steps('  - { id: a, http: { url: "http://a/", body: {} } }'), ['4:40 conflict steps[0].http.body']],
    [
      steps('  - { id: a, http: { url: "http://a/", headers: [] } }'),
      ['4:49 invalid_value steps[0].http.headers'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", headers: { Host: b } } }'),
      ['4:51 invalid_value steps[0].http.headers.Host'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", headers: { "a:": b } } }'),
      ['4:51 invalid_value steps[0].http.headers["a:"]'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", headers: { a: "b\\r\\nc: d" } } }'),
      ['4:54 invalid_value steps[0].http.headers.a'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", query: x=1 } }'),
      ['4:47 invalid_value steps[0].http.query'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/", okStatus: [99, 4x, 410-400] } }'),
      [
        '4:51 invalid_value steps[0].http.okStatus[0]',
        '4:55 invalid_value steps[0].http.okStatus[1]',
        '4:59 invalid_value steps[0].http.okStatus[2]',
      ],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/${{ b }}" } }'),
      ['4:41 invalid_expression steps[0].http.url'],
    ],
    [
      steps('  - { id: a, http: { url: "http://a/${{ trigger.x" } }'),
      ['4:37 invalid_expression steps[0].http.url'],
    ],
  ],
  'wait and respond': [
    [steps('  - { id: a, wait: 5 }'), ['4:20 invalid_value steps[0].wait']],
    [steps('  - { id: a, wait: 366d }'), ['4:20 invalid_value steps[0].wait']],
    [steps('  - { id: a, wait: {} }'), ['4:20 required steps[0].wait']],
    [steps('  - { id: a, wait: { for: 1 day } }'), ['4:27 invalid_value steps[0].wait.for']],
    [steps('  - { id: a, wait: { until: 2030-01-31 } }'), ['4:29 invalid_value steps[0].wait.until']],
    [
      steps('  - { id: a, wait: { for: 1s, until: "2030-01-31T00:00:00Z" } }'),
      ['4:31 conflict steps[0].wait.until'],
    ],
    [steps('  - { id: a, respond: { status: 200 } }'), ['4:14 no_effect steps[0].respond']],
    [
      webhook('respond: result').replace('transform: "1"', 'respond: {status: 199}'),
      ['3:40 invalid_value steps[0].respond.status'],
    ],
    [
      webhook('respond: result').replace('transform: "1"', 'forEach: [1], respond: {}'),
      ['3:22 conflict steps[0].forEach'],
    ],
  ],
  'headers that are not the author’s': [
    ...['Idempotency-Key', 'content-length', 'Transfer-Encoding'].map(
      (name) =>
        [
          steps(`  - { id: a, http: { url: "http://a/", headers: { ${name}: b } } }`),
          [`4:51 invalid_value steps[0].http.headers.${name}`],
        ] as const,
    ),
    ...['Set-Cookie', 'Content-Security-Policy', 'Content-Length'].map(
      (name) =>
        [
          webhook('respond: result').replace('transform: "1"', `respond: {headers: {${name}: b}}`),
          [`3:42 invalid_value steps[0].respond.headers.${name}`],
        ] as const,
    ),
  ],
  'what expressions read': [
    [steps(`${ok}  - { id: a, transform: steps.ok.output }`), ['5:25 missing_need steps[1].transform']],
    [steps('  - { id: a, transform: "1 + steps.a.output" }'), ['4:30 missing_need steps[0].transform']],
    [
      steps(`${ok}  - { id: a, needs: [ok], transform: "steps.ko.output" }`),
      ['5:39 unknown_step steps[1].transform'],
    ],
    [
      steps(`${ok}  - { id: a, needs: [ok], transform: "steps[trigger.body.id].output" }`),
      ['5:39 invalid_expression steps[1].transform'],
    ],
    [
      steps(
        '  - { id: my-step, transform: "1" }\n  - { id: a, needs: [my-step], transform: steps.my-step.output }',
      ),
      ['5:43 invalid_expression steps[1].transform'],
    ],
    [steps('  - { id: a, transform: trigger.body.x +* 2 }'), ['4:41 invalid_expression steps[0].transform']],
    [
      steps('  - { id: a, transform: { "${{ trigger.name }}": 1 } }'),
      ['4:27 invalid_expression steps[0].transform["${{ trigger.name }}"]'],
    ],
    [steps('  - { id: a, transform: process.env }'), ['4:25 invalid_expression steps[0].transform']],
    [
      steps('  - id: a\n    transform:\n      text: |\n        one\n          two ${{ trigger.body. }}\n'),
      ['8:33 invalid_expression steps[0].transform.text'],
    ],
    [
      steps('  - id: a\n    transform:\n      deep: [{ x: "a ${{ trigger.body.a }} b ${{ nope }}" }]\n'),
      ['6:50 invalid_expression steps[0].transform.deep[0].x'],
    ],
  ],
};

describe.each(Object.entries(BAD))('parseWorkflow refuses, in %s,', (_, table) => {
  test.each(table.map(([text, problems]) => [text.slice(-90), text, problems] as const))(
    '%s',
    (_label, text, problems) => {
      expect(problemsOf(text)).toEqual(problems);
    },
  );
});

test('every problem has a known code, a message and a fix', () => {
  for (const [text] of Object.values(BAD).flat()) {
    const parsed = parseWorkflow(text);
    for (const { code, message, fix } of parsed.ok ? [] : parsed.problems) {
      expect(FINDING_CODES).toContain(code);
      expect(message.length).toBeGreaterThan(5);
      expect(fix.length).toBeGreaterThan(5);
      expect(`${message} ${fix}`).not.toMatch(/undefined|\[object|"what"|"findings"/);
    }
  }
});

describe('the fix names what to write', () => {
  test.each([
    [steps(`${ok}  - { id: a, needs: [], transform: steps.ok.output }`), '→ add `needs: [ok]`'],
    [
      steps(`${ok}  - { id: b, transform: "1" }\n  - { id: a, needs: [b], transform: steps.ok.output }`),
      '→ add `needs: [b, ok]`',
    ],
    [
      steps(
        '  - { id: my-step, transform: "1" }\n  - { id: a, needs: [my-step], transform: steps.my-step.output }',
      ),
      '→ write `steps["my-step"]`',
    ],
    [steps('  - { id: a, if: "${{ trigger.body.x }}", transform: "1" }'), '→ write `trigger.body.x`'],
    [steps('  - { id: a, http: { url: "http://a/", method: post } }'), '→ did you mean `POST`?'],
    [steps('  - { id: a, htpp: {} }'), '→ did you mean `http`?'],
    [steps('  - { id: a, needs: [b], wait: 1s }\n  - { id: b, needs: [a], wait: 1s }'), 'a → b → a'],
    [webhook('').replace('none', 'githb'), '→ did you mean `github`?'],
  ])('%s', (text, fix) => {
    expect(problemTexts(text)).toContain(fix);
  });
});

describe('credentials', () => {
  const text = `
name: w
triggers: { t: { webhook: { verify: { scheme: github, credential: gh } } } }
steps:
  - { id: a, http: { url: "https://example.com", credential: crm } }
  - { id: b, http: { url: "erp:/x" } }
`;
  test('that the tenant does not have are problems', () => {
    expect(problemsOf(text, { hasCredential: (name) => name === 'x' })).toEqual([
      '3:67 unknown_credential triggers.t.webhook.verify.credential',
      '5:62 unknown_credential steps[0].http.credential',
      '6:27 unknown_credential steps[1].http.url',
    ]);
  });

  test('are not looked at when nobody says which there are', () => {
    expect(problemsOf(text)).toEqual([]);
  });
});

test('a sender that waits for nothing is worth a warning', () => {
  const parsed = parseWorkflow(webhook('respond: result'));
  expect(parsed).toMatchObject({
    ok: true,
    warnings: [{ path: 'triggers.t.webhook.respond', line: 2, column: 10, code: 'no_effect' }],
  });
});

test('a flood of problems is cut, and says so', () => {
  const flood = Array.from({ length: 5000 }, (_, n) => `k${n}: 1`).join('\n');
  const parsed = parseWorkflow(`${steps(ok)}${flood}`);
  const problems = parsed.ok ? [] : parsed.problems;
  expect(problems).toHaveLength(101);
  expect(problems.at(-1)?.message).toBe('and more problems from here on');
});

test('documents made to be slow are not', () => {
  const slow = [
    steps(
      Array.from(
        { length: 500 },
        (_, n) =>
          `  - { id: s${n}, needs: [${Array.from({ length: n }, (_, m) => `s${m}`).join()}], transform: steps.s0.output }`,
      ).join('\n'),
    ),
    steps(Array.from({ length: 20_000 }, (_, n) => `  - { id: s${n}, transform: "1" }`).join('\n')),
    steps(`  - { id: a, transform: [${'"${{ trigger }}",'.repeat(40_000)}] }`),
    steps(`  - { id: a, transform: "${'['.repeat(500_000)}" }`),
    steps(`  - { id: a, if: "${'!'.repeat(500_000)}true", transform: "1" }`),
    // wrong all over, in ways that each want a suggestion or a place
    steps(
      Array.from({ length: 500 }, (_, n) => {
        const needs = Array.from({ length: 100 }, (__, m) => `n${(n * 100 + m).toString(36)}`);
        return `  - { id: s${n.toString(36)}, needs: [${needs.join()}], wait: 1s }`;
      }).join('\n'),
    ),
    steps(`  - { id: a, transform: { b: "${'${{ x }}'.repeat(100_000)}" } }`),
    steps(`  - { id: a, transform: "${Array.from({ length: 500 }, (_, n) => `steps.x${n}`).join(' + ')}" }`),
    `${steps(ok)}${Array.from({ length: 20_000 }, (_, n) => `stp${n}: 1`).join('\n')}`,
    `${'x'.repeat(1_000_000)}: 1`,
    steps(ok) + 'x: 1\n'.repeat(50_000),
  ];
  for (const text of slow) {
    const start = performance.now();
    parseWorkflow(text);
    const tookMs = performance.now() - start;
    expect(`${text.slice(60, 120)} ${tookMs < 10_000 ? 'in time' : `took ${tookMs} ms`}`).toMatch(/in time$/);
  }
}, 60_000);
