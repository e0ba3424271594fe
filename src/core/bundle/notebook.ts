import type { Problem } from '../errors/app-error.ts';
import { isRecord } from '../json.ts';
import { fileProblem } from './source-files.ts';

const NBFORMAT = 4;
/** The runner's module that runs cells: src/runner/python/millrace_runner/notebook.py. */
const RUNNER_MODULE = 'millrace_runner.notebook';

/**
 * Turns a Jupyter notebook (nbformat 4, https://nbformat.readthedocs.io) into a Python module with `run(ctx, input)`. Its
 * code cells run in order, in one namespace that has `ctx` and `input`; the output of the step is the variable `output`, if
 * it is set, else the value of the last expression of the last cell.
 *
 * Cells are counted as Jupyter does after "Restart and run all": code cells that are not empty, from 1. Tracebacks name
 * them `analysis.ipynb#cell-3`, and so do problems: what is no Python (magics, shell escapes, help) is refused, every
 * place of it.
 */
export function notebookProgram(
  text: string,
  path: string,
):
  | { readonly ok: true; readonly source: string }
  | { readonly ok: false; readonly problems: readonly Problem[] } {
  const read = readCells(text, path);
  if ('problem' in read) return { ok: false, problems: [read.problem] };
  const problems = read.cells.flatMap((source, index) =>
    findForeign(source).map(({ line, what, fix }) =>
      fileProblem(path, 'invalid_notebook', `cell ${index + 1}, line ${line}: ${what}`, fix),
    ),
  );
  if (problems.length > 0) return { ok: false, problems };
  const cells = read.cells.map((source, index) => [index + 1, source]);
  const source =
    `# Made from a notebook: what is to be changed, is to be changed there.\n` +
    `from ${RUNNER_MODULE} import make_run\n\n` +
    `run = make_run(${pythonLiteral(path)}, ${pythonLiteral(JSON.stringify(cells))})\n`;
  return { ok: true, source };
}

/** The sources of the code cells that are not empty. */
function readCells(
  text: string,
  path: string,
): { readonly cells: readonly string[] } | { readonly problem: Problem } {
  const refuse = (message: string, fix: string): { readonly problem: Problem } => ({
    problem: fileProblem(path, 'invalid_notebook', message, fix),
  });
  let notebook: unknown;
  try {
    notebook = JSON.parse(text);
  } catch {
    return refuse('it is not JSON, so it is no notebook', 'save it with Jupyter as `.ipynb`');
  }
  if (!isRecord(notebook) || notebook.nbformat !== NBFORMAT || !Array.isArray(notebook.cells)) {
    const found = isRecord(notebook) && typeof notebook.nbformat === 'number' ? notebook.nbformat : 'none';
    return refuse(
      `its nbformat must be ${NBFORMAT}, got ${found}`,
      'open it with a current Jupyter and save it',
    );
  }
  const language = languageOf(notebook.metadata);
  if (language !== undefined && language.toLowerCase() !== 'python') {
    return refuse(
      `its language is \`${language}\`; only Python notebooks can be run`,
      'choose a Python kernel',
    );
  }
  const cells: string[] = [];
  for (const [index, cell] of notebook.cells.entries()) {
    if (!isRecord(cell) || cell.cell_type !== 'code') continue;
    const source = joinSource(cell.source);
    if (source === undefined) {
      return refuse(
        `\`cells[${index}].source\` must be a text or a list of texts`,
        'save it with Jupyter again',
      );
    }
    if (source.trim() !== '') cells.push(source);
  }
  if (cells.length > 0) return { cells };
  return refuse('it has no code cell', 'write one; its last expression is the output of the step');
}

function languageOf(metadata: unknown): string | undefined {
  if (!isRecord(metadata)) return undefined;
  for (const [part, key] of [
    [metadata.kernelspec, 'language'],
    [metadata.language_info, 'name'],
  ] as const) {
    const language = isRecord(part) ? part[key] : undefined;
    if (typeof language === 'string') return language;
  }
  return undefined;
}

function joinSource(source: unknown): string | undefined {
  const lines: readonly unknown[] = Array.isArray(source) ? source : [source];
  if (!lines.every((line): line is string => typeof line === 'string')) return undefined;
  return lines.join('').replaceAll('\r\n', '\n');
}

/** A literal of Python with this text: nothing in it can end the literal, for all but plain ASCII is escaped. */
const pythonLiteral = (text: string): string =>
  `"${text.replace(/[^\x20-\x7e]|["\\]/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code > 0xff_ff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
  })}"`;
const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, '0');

interface Foreign {
  readonly line: number;
  readonly what: string;
  readonly fix: string;
}

/**
 * Finds what IPython understands and Python does not. Outside of strings and comments, `?` is nowhere Python, `!` only
 * before `=`, and `%` neither begins a statement nor follows an assignment's `=`.
 */
function findForeign(source: string): readonly Foreign[] {
  const found: Foreign[] = [];
  const foundLines = new Set<number>();
  let line = 1;
  let depth = 0;
  /** The last character of the statement that is no space; empty at its beginning. */
  let previous = '';
  const report = (at: number, what: string, fix: string): void => {
    // The rest of the line means something else to IPython, too.
    if (!foundLines.has(line)) found.push({ line, what: `\`${lineAt(source, at)}\` is ${what}`, fix });
    foundLines.add(line);
  };
  for (let at = 0; at < source.length; at++) {
    const char = source[at] ?? '';
    if (char === '\n') {
      line++;
      if (depth === 0) previous = '';
    } else if (char === '\\' && source[at + 1] === '\n') {
      line++;
      at++;
    } else if (char === '#') {
      at = endOfLine(source, at) - 1;
    } else if (char === '"' || char === "'") {
      const end = endOfString(source, at);
      line += source.slice(at, end).split('\n').length - 1;
      at = end - 1;
      previous = char;
    } else if (!/\s/.test(char)) {
      const foreign = foreignAt(source, at, previous);
      if (foreign !== undefined && !(depth > 0 && char === '%')) report(at, ...foreign);
      if ('([{'.includes(char)) depth++;
      if (')]}'.includes(char)) depth = Math.max(0, depth - 1);
      // A comparison's or an operator's `=` is no assignment's.
      previous = char === '=' && /[=!<>%+\-*/&|^@:]/.test(source[at - 1] ?? '') ? '==' : char;
      if (char === ';' && depth === 0) previous = '';
    }
    if (foundLines.has(line)) {
      const end = endOfLine(source, at);
      if (end > at) at = end - 1;
    }
  }
  return found;
}

/** What stands at this place, if it is no Python, and what to write instead. */
function foreignAt(source: string, at: number, previous: string): [what: string, fix: string] | undefined {
  const isStart = previous === '' || previous === '=';
  switch (source.charAt(at)) {
    case '%':
      if (!isStart) return undefined;
      return [
        `the magic \`${/^%{1,2}\w*/.exec(source.slice(at))?.[0]}\`, which only Jupyter knows`,
        'write it in Python, or remove it; list packages in requirements.txt',
      ];
    case '!':
      if (source[at + 1] === '=') return undefined;
      return ['a shell escape, which only Jupyter knows', 'use subprocess.run, or remove it'];
    case '?':
      return ['a request for help, which only Jupyter knows', 'remove it'];
    default:
      return undefined;
  }
}

const endOfLine = (source: string, at: number): number => {
  const end = source.indexOf('\n', at);
  return end === -1 ? source.length : end;
};

const lineAt = (source: string, at: number): string => {
  const start = source.lastIndexOf('\n', at) + 1;
  const text = source.slice(start, endOfLine(source, at)).trim();
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
};

/** Where the string that begins at a quote is over; a line's end is the end of one that is not closed. */
function endOfString(source: string, start: number): number {
  const quote = source[start] ?? '';
  const isLong = source.startsWith(quote.repeat(3), start);
  const close = isLong ? quote.repeat(3) : quote;
  for (let at = start + close.length; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (source.startsWith(close, at)) return at + close.length;
    else if (source[at] === '\n' && !isLong) return at;
  }
  return source.length;
}
