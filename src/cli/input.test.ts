import { describe, expect, it } from 'vitest';
import { EXIT } from './cli-error.ts';
import { parseInput } from './input.ts';

const files: Readonly<Record<string, string>> = { 'in.json': '{"from":"file"}', '-': '[1]', 'bad.json': '{' };
const parse = (...values: readonly string[]): Promise<unknown> =>
  parseInput(values, async (file) => files[file] ?? '');

describe('parseInput', () => {
  it.each<readonly [name: string, values: readonly string[], input: unknown]>([
    ['nothing', [], undefined],
    ['a JSON object', ['{"a":1}'], { a: 1 }],
    ['a JSON text with an equals sign', ['"a=b"'], 'a=b'],
    ['a JSON literal', ['null'], null],
    ['a file', ['@in.json'], { from: 'file' }],
    ['standard input', ['@-'], [1]],
    ['one pair', ['name=mill'], { name: 'mill' }],
    [
      'several pairs',
      ['a=1', 'b=true', 'c=text', 'd={"e":[2]}', 'f='],
      { a: 1, b: true, c: 'text', d: { e: [2] }, f: '' },
    ],
    ['a value with equals signs and newlines', ['a=b=c\nd'], { a: 'b=c\nd' }],
    ['a pair named as a prototype’s member', ['__proto__=1'], JSON.parse('{"__proto__":1}')],
  ])('reads %s', async (_, values, input) => {
    expect(await parse(...values)).toEqual(input);
  });

  it.each([
    ['a bare word', ['mill']],
    ['two JSON texts', ['{}', '{}']],
    ['a pair and a bare word', ['a=1', 'b']],
    ['a file that is not JSON', ['@bad.json']],
  ])('refuses %s as wrong usage and shows the forms', async (_, values) => {
    await expect(parse(...values)).rejects.toMatchObject({
      exitCode: EXIT.usage,
      message: expect.stringContaining('--input key=value'),
    });
  });
});
