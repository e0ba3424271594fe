import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { printable, printableJson } from './printable.ts';

describe('printable', () => {
  it.each([
    ['a colour', '\u001b[31mred', '\\u001b[31mred'],
    ['a C1 escape sequence', '\u009b2J', '\\u009b2J'],
    ['a line that overwrites itself', 'good\rbad', 'good\\u000dbad'],
    ['text turned around', 'abc\u202edef', 'abc\\u202edef'],
    ['a line separator', 'a\u2028b', 'a\\u2028b'],
    ['a null byte', 'a\u0000b', 'a\\u0000b'],
  ])('shows %s as text', (_, text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it('leaves words, newlines, tabs and emoji alone', () => {
    const text = 'Grüße\n\t水車 👩‍👩‍👧 a–b';
    expect(printable(text)).toBe(text);
  });

  it('lets no control but newline and tab through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(printable(text).replaceAll(/[\n\t]/g, '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
      }),
    );
  });
});

describe('printableJson', () => {
  it('is the same value for a program, and harmless in a terminal', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = printableJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(text).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
      }),
    );
  });
});
