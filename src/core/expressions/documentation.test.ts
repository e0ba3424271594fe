import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { compileExpression } from './compile.ts';
import { FUNCTIONS } from './functions/table.ts';
import { MAX_SOURCE_LENGTH } from './parse.ts';
import { MAX_PATTERN_LENGTH } from './regex.ts';
import { compileTemplate } from './template.ts';
import { DEFAULT_LIMITS, type Scope } from './types.ts';

const page = readFileSync(new URL('../../../docs/expressions.md', import.meta.url), 'utf8');

const blocks = (language: string): readonly string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((match) => match[1] ?? '');

const scope = JSON.parse(blocks('json')[0] ?? '') as Scope;
const names = Object.keys(scope);

interface Example {
  readonly text: string;
  readonly sign: string;
  readonly expected: string;
}

const examples = (language: string): readonly Example[] =>
  blocks(language)
    .flatMap((block) => block.trimEnd().split('\n'))
    .map((line) => {
      const [, text = line, sign = '', expected = ''] = /^(.*?)\s+\/\/ (→|✗) (.*)$/.exec(line) ?? [];
      return { text, sign, expected };
    });

/** What a save or a run answers, as the page shows it. */
function answer(text: string): { readonly value?: unknown; readonly error?: string } {
  const compiled = compileExpression(text, { names });
  if (!compiled.ok) return { error: compiled.problems.map(({ message }) => message).join('; ') };
  try {
    return { value: compiled.value.evaluate(scope) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

test('every line of an example says what comes of it', () => {
  const all = [...examples('cel'), ...examples('template')];
  expect(all.length).toBeGreaterThan(80);
  expect(all.filter(({ sign }) => sign === '')).toEqual([]);
});

test.each(examples('cel'))('$text $sign $expected', ({ text, sign, expected }) => {
  if (sign === '→') expect(answer(text)).toEqual({ value: JSON.parse(expected) as unknown });
  else expect(answer(text).error).toContain(expected);
});

test.each(examples('template'))('$text renders $expected', ({ text, expected }) => {
  const compiled = compileTemplate(JSON.parse(text) as never, { names });
  expect(compiled.ok && compiled.value.render(scope)).toEqual(JSON.parse(expected));
});

test('the page names every function and every limit', () => {
  const missing = FUNCTIONS.filter(({ name }) => !new RegExp(`\\b${name.replace('.', '\\.')}\\(`).test(page));
  expect(missing.map(({ name }) => name)).toEqual([]);
  const { timeMs, maxSteps, maxOutputBytes } = DEFAULT_LIMITS;
  const limits = [
    `${MAX_SOURCE_LENGTH} characters`,
    `${MAX_PATTERN_LENGTH} characters`,
    `${timeMs} ms`,
    `${maxSteps} steps`,
    `${maxOutputBytes} bytes`,
  ];
  for (const limit of limits) expect(page).toContain(limit);
});
