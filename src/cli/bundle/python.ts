import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileProblem } from '../../core/bundle/source-files.ts';
import type { Problem } from '../../core/errors/app-error.ts';
import { errorCodeOf } from '../../core/errors/app-error.ts';
import { z } from '../../core/zod.ts';
import { candidatePaths, importedNames } from './python-imports.ts';

const run = promisify(execFile);

/** The Python modules that steps import from the workflow's folder, and those steps' files themselves; path → text. */
export async function collectModules(
  root: string,
  entries: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const found = new Map<string, string>();
  const absent = new Set<string>();
  const queue = [...entries];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (found.has(path) || absent.has(path)) continue;
    const text = await readFile(join(root, path), 'utf8').catch(() => undefined);
    if (text === undefined) {
      absent.add(path);
      continue;
    }
    found.set(path, text);
    const source = path.endsWith('.ipynb') ? notebookCode(text) : text;
    for (const name of importedNames(source)) queue.push(...candidatePaths(path, name));
  }
  return Object.fromEntries(found);
}

const notebookShape = z.object({
  cells: z.array(z.object({ cell_type: z.string(), source: z.union([z.string(), z.array(z.string())]) })),
});

function notebookCode(text: string): string {
  try {
    const { cells } = notebookShape.parse(JSON.parse(text));
    return cells
      .filter(({ cell_type: type }) => type === 'code')
      .map(({ source }) => (typeof source === 'string' ? source : source.join('')))
      .join('\n');
  } catch {
    return '';
  }
}

/** Parses each file on stdin (JSON, path → text), and tells where it cannot. */
const CHECK = `
import ast, json, sys
faults = []
for path, text in json.load(sys.stdin).items():
    try:
        ast.parse(text, path)
    except SyntaxError as error:
        faults.append([path, error.lineno, error.offset, error.msg])
    except ValueError as error:
        faults.append([path, None, None, str(error)])
print(json.dumps(faults))
`;
const faultsShape = z.array(z.tuple([z.string(), z.int().nullable(), z.int().nullable(), z.string()]));

/** Syntax errors of Python modules, as this machine's python3 sees them; none where there is no python3. */
export async function syntaxProblems(modules: Readonly<Record<string, string>>): Promise<readonly Problem[]> {
  const python = Object.fromEntries(Object.entries(modules).filter(([path]) => path.endsWith('.py')));
  if (Object.keys(python).length === 0) return [];
  try {
    const pending = run('python3', ['-I', '-c', CHECK], { timeout: 30_000, maxBuffer: 16 * 1024 * 1024 });
    pending.child.stdin?.end(JSON.stringify(python));
    const { stdout } = await pending;
    return faultsShape.parse(JSON.parse(stdout)).map(([path, line, column, message]) =>
      fileProblem(path, 'syntax_error', message, 'correct the code', {
        ...(line !== null && { line, ...(column !== null && { column: Math.max(1, column) }) }),
      }),
    );
  } catch (raw) {
    // What runs the step will tell.
    if (errorCodeOf(raw) === 'ENOENT') return [];
    throw raw;
  }
}
