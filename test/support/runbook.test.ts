import { describe, expect, it } from 'vitest';
import { hasShape, mendingCommands, runCommand, shownCommands } from './runbook.ts';

it('tells the commands that show what they print from the others', () => {
  const page = '# A\n\n```sh\nrestart it\n```\n\n- then\n\n```sh\nls\n```\n\n```text\nfile\n…\n```\n';
  expect(shownCommands(page)).toEqual([{ command: 'ls', output: 'file\n…', faulty: undefined }]);
  expect(mendingCommands(page)).toEqual(['restart it']);
});

it('takes what a command prints while the fault lasts', () => {
  const page = '```sh\nping\n```\n\n```text\nPONG\n```\n\nWhile it is gone:\n\n```text\nrefused\n```\n';
  expect(shownCommands(page)).toEqual([{ command: 'ping', output: 'PONG', faulty: 'refused' }]);
});

it('runs a command as a shell does', async () => {
  expect(await runCommand('echo "$WORD" | tr a-z A-Z', { WORD: 'mill' })).toBe('MILL');
});

describe('the shape of an output', () => {
  it.each([
    ['other numbers', 'up 12', 'up 0.5'],
    ['numbers in words', 'skew 0.0004', 'skew -1.5e-7'],
    ['wider columns', ' a | b\n---+---\n 1 | x', '   a    | b \n--------+---\n 123456 | x '],
    ['another line', 'first\n…', 'first\nsecond'],
    ['more lines', 'first\n…', 'first\nsecond\nthird'],
    ['lines before', '…\nlast', 'one\ntwo\nlast'],
    ['something within a line', '{"a":{…}}', '{"a":{"b":1}}'],
  ])('allows %s', (_, shown, actual) => {
    expect(hasShape(actual, shown)).toBe(true);
  });

  it.each([
    ['another name', 'up 1', 'down 1'],
    ['a line more', 'first', 'first\nsecond'],
    ['a line less', 'first\nsecond', 'first'],
    ['no more lines', 'first\n…', 'first'],
    ['no lines before', '…\nlast', 'last'],
    ['nothing', 'up 1', ''],
    ['another column', ' a | b', ' a | c'],
    ['an error in its place', '(0 rows)', 'ERROR:  relation "x" does not exist'],
  ])('does not allow %s', (_, shown, actual) => {
    expect(hasShape(actual, shown)).toBe(false);
  });
});
