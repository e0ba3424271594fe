import { dirname, join } from 'node:path';
import { AppError } from '../core/errors/app-error.ts';
import { describeStartFailure } from '../core/startup.ts';
import { CliError, EXIT, type ExitCode } from './cli-error.ts';
import { printable } from './printable.ts';
import type { ProblemDocument, ProblemItem } from './shapes.ts';

/** An answer of the API that is not a success. */
export class ApiError extends CliError {
  readonly status: number;
  readonly document: ProblemDocument;

  constructor(message: string, status: number, document: ProblemDocument) {
    super(message, { exitCode: EXIT.failure });
    this.status = status;
    this.document = document;
  }
}

/** `file:line:column message — fix`, the form that editors and terminals make links of. */
export function formatFinding(problem: ProblemItem, workflow: string | undefined): string {
  const beside = besidePath(problem.path, workflow);
  const file = beside ?? workflow;
  const place = [file, problem.line, problem.column].filter((part) => part !== undefined).join(':');
  const where =
    place === '' || (problem.line === undefined && beside === undefined)
      ? [place, problem.path].filter(Boolean).join(' ')
      : place;
  const fix = problem.fix === undefined || problem.fix === '' ? '' : ` — ${problem.fix}`;
  return printable(`${where === '' ? '' : `${where} `}${problem.message ?? ''}${fix}`);
}

/** The file that `files["steps/a.ts"]` is, as seen from here; undefined for places in the document itself. */
function besidePath(path: string | undefined, workflow: string | undefined): string | undefined {
  const [, quoted, plain] = /^files(?:\[(".*")\]|\.([\w$-]+))$/.exec(path ?? '') ?? [];
  if (quoted === undefined && plain === undefined) return undefined;
  try {
    const file = plain ?? String(JSON.parse(quoted ?? ''));
    return workflow === undefined ? file : join(dirname(workflow), file);
  } catch {
    return undefined;
  }
}

/** How a failure is told on stderr, one line or several, and what the process ends with. */
export function explain(
  error: unknown,
  file?: string,
): { readonly lines: readonly string[]; readonly exitCode: ExitCode } {
  if (error instanceof ApiError) {
    const { errors = [], requestId, code } = error.document;
    const note = [code, requestId && `request ${requestId}`].filter(Boolean).join(', ');
    return {
      lines: [
        ...errors.map((problem) => formatFinding(problem, file)),
        printable(`${error.message}${note === '' ? '' : ` (${note})`}`),
      ],
      exitCode: error.exitCode,
    };
  }
  if (error instanceof CliError) return { lines: [error.message], exitCode: error.exitCode };
  if (error instanceof AppError) {
    return {
      lines: [
        error.message,
        ...error.problems.map((problem) => `  ${problem.path} ${problem.message} — ${problem.fix}`),
      ],
      exitCode:
        describeStartFailure(error).exitCode === EXIT.configuration ? EXIT.configuration : EXIT.failure,
    };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { lines: [text], exitCode: EXIT.failure };
}
