import { describe, expect, test } from 'vitest';
import { contentHash } from './content-hash.ts';
import { parseWorkflow } from './parse.ts';

function documentOf(text: string) {
  const parsed = parseWorkflow(text);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.document;
}

const PLAIN = 'name: a\ntriggers: { t: { manual: {} } }\nsteps:\n  - id: x\n    transform: "1"\n';

describe('contentHash', () => {
  test('stays as it is over releases: stored hashes are compared with it', () => {
    expect(contentHash(documentOf(PLAIN))).toBe(
      '31257b2b0068bc985433ce88d7f9aa6e1042d9ee64a523948d0724b0a7b83f15',
    );
  });

  test.each([
    ['comments and blank lines', `# a comment\n\n${PLAIN}`],
    ['other quotes', PLAIN.replace('"1"', "'1'")],
    ['another order of keys', 'steps: [{transform: "1", id: x}]\ntriggers:\n  t:\n    manual: {}\nname: a\n'],
    ['JSON', '{"name":"a","triggers":{"t":{"manual":{}}},"steps":[{"id":"x","transform":"1"}]}'],
  ])('does not see %s', (_, text) => {
    expect(contentHash(documentOf(text))).toBe(contentHash(documentOf(PLAIN)));
  });

  test('sees every change of content', () => {
    const texts = [
      PLAIN,
      PLAIN.replace('"1"', '"2"'),
      PLAIN.replace('name: a', 'name: b'),
      `${PLAIN}config: { a: 1 }\n`,
      `${PLAIN}config: { a: "1" }\n`,
      `${PLAIN}config: { a: [1, 2] }\n`,
      `${PLAIN}config: { a: [2, 1] }\n`,
    ];
    expect(new Set(texts.map((text) => contentHash(documentOf(text)))).size).toBe(texts.length);
  });

  test('sees the files, whatever their order', () => {
    const document = documentOf(PLAIN);
    const files = { 'a.ts': 'x', 'b.ts': { base64: 'eA==' } };
    expect(contentHash(document, files)).not.toBe(contentHash(document));
    expect(contentHash(document, { 'b.ts': { base64: 'eA==' }, 'a.ts': 'x' })).toBe(
      contentHash(document, files),
    );
    expect(contentHash(document, {})).toBe(contentHash(document));
  });
});
