import { describe, expect, test } from 'vitest';
import { notebookProgram } from './notebook.ts';

const PATH = 'analysis.ipynb';
const cell = (source: string | readonly string[], type = 'code'): object => ({ cell_type: type, source });
const notebook = (cells: readonly object[], more: object = {}): string =>
  JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells, ...more });

const messages = (text: string): readonly string[] => {
  const result = notebookProgram(text, PATH);
  return result.ok ? [] : result.problems.map(({ message }) => message);
};
const messagesOfCells = (...sources: readonly string[]): readonly string[] =>
  messages(notebook(sources.map((source) => cell(source))));

describe('a notebook', () => {
  test('becomes a module whose cells are data', () => {
    const result = notebookProgram(notebook([cell(['x = 1\n', 'x']), cell('# text', 'markdown')]), PATH);
    expect(result).toEqual({
      ok: true,
      source: expect.stringMatching(
        /\nrun = make_run\("analysis\.ipynb", "\[\[1,\\u0022x = 1\\u005cnx\\u0022\]\]"\)\n$/,
      ),
    });
  });

  test('cannot write code into the module, whatever its cells and its name hold', () => {
    const nasty = '"\'\\\n\r\u2028\0é😀\ud800")\nimport os\n"""\n\'\'\'';
    const result = notebookProgram(
      notebook([cell('x = """a"""'), cell(`# ${nasty.replaceAll('\n', ' ')}`)]),
      `${nasty}.ipynb`,
    );
    const lines = result.ok ? result.source.split('\n') : [];
    expect(lines).toHaveLength(5);
    expect(lines[3]).toMatch(
      /^run = make_run\("(?:[^"\\]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*", "(?:[^"\\]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*"\)$/,
    );
    expect(result.ok && result.source).toMatch(/^[\x20-\x7e\n]*$/);
  });

  test.each<[string, string, RegExp]>([
    ['no JSON', '{', /not JSON/],
    ['no notebook', '[]', /nbformat must be 4, got none/],
    ['an old one', JSON.stringify({ nbformat: 3, worksheets: [] }), /nbformat must be 4, got 3/],
    [
      'of another kernel',
      notebook([cell('1')], { metadata: { kernelspec: { language: 'R' } } }),
      /language is `R`/,
    ],
    [
      'of another language',
      notebook([cell('1')], { metadata: { language_info: { name: 'julia' } } }),
      /`julia`/,
    ],
    ['without code', notebook([cell('text', 'markdown'), cell(' \n')]), /no code cell/],
    ['with a broken cell', notebook([cell(7 as never)]), /`cells\[0\]\.source` must be a text/],
  ])('%s is refused', (_, text, message) => {
    expect(messages(text)).toEqual([expect.stringMatching(message)]);
  });
});

describe('what only Jupyter knows', () => {
  test.each<[string, string, RegExp]>([
    [
      'a line magic',
      'x = 1\n%matplotlib inline',
      /^cell 1, line 2: `%matplotlib inline` is the magic `%matplotlib`/,
    ],
    ['a cell magic', '%%bash\necho "it\'s', /^cell 1, line 1: `%%bash` is the magic `%%bash`/],
    ['an assigned magic', 'x = %time f()', /magic `%time`/],
    ['an indented magic', 'if x:\n    %pip install y', /line 2: .*magic `%pip`/],
    ['a magic after a semicolon', 'x; %who', /magic `%who`/],
    ['a shell escape', '!ls -l', /`!ls -l` is a shell escape/],
    ['an assigned shell escape', 'files = !ls', /shell escape/],
    ['help after a name', 'print?', /`print\?` is a request for help/],
    ['help before a name', '?print', /request for help/],
  ])('%s is named with its cell and line', (_, source, message) => {
    expect(messagesOfCells(source)).toEqual([expect.stringMatching(message)]);
  });

  test('is found in every cell, once for each line, and counted as Jupyter counts', () => {
    const text = notebook([
      cell('', 'code'),
      cell('# a', 'markdown'),
      cell('!a | b?\nx = 1\n!c'),
      cell('%d'),
    ]);
    expect(messages(text)).toEqual([
      expect.stringMatching(/^cell 1, line 1: /),
      expect.stringMatching(/^cell 1, line 3: /),
      expect.stringMatching(/^cell 2, line 1: /),
    ]);
  });

  test.each([
    ['a % b', 'x = a % b\nx %= 2\ny = "%s" % x\nz = a %b'],
    ['a % that goes on from the line before', 'x = (a\n% b)\ny = a \\\n% b'],
    [
      'signs in strings',
      `x = "!ls ? %time"\ny = '%pip "\\'!'\nz = """\n%%bash\n!ls?\n"""\nw = f'{x!r:>{10}}?'\nv = r"\\"`,
    ],
    ['signs in comments', '# !ls\nx = 1  # what? %time'],
    ['comparisons', 'x != y\nx == -1\na[b != c]'],
    ['a string that is not closed, which Python refuses by itself', 'x = "abc\ny = 1'],
  ])('%s is Python', (_, source) => {
    expect(messagesOfCells(source)).toEqual([]);
  });
});
