import type { z } from '../zod.ts';
import { preview, valueAt, type Finding, type FindingCode, type Path } from './findings.ts';

/**
 * From zod's issues to findings. A zod error map can only return text, so what a schema has to say travels in the
 * message as JSON: either what is expected and how to mend it, or whole findings with paths relative to that schema.
 */
interface Hint {
  readonly what: string;
  readonly fix: string;
  readonly code?: FindingCode;
}
interface Carried {
  readonly findings: readonly Finding[];
}

/** Begins the messages that `says` and `carry` write; nothing of zod's own begins so. */
const MARK = '\u0001';

/** An error map for one expectation: `what` continues a sentence that starts with the key, such as "must be …". */
export function says(what: string, fix: string, code?: FindingCode): () => string {
  const text = MARK + JSON.stringify({ what, fix, code } satisfies Hint);
  return () => text;
}

/** The text of an error map that knows its findings. */
export const carry = (findings: readonly Finding[]): string =>
  MARK + JSON.stringify({ findings } satisfies Carried);

/** @param root the value that was parsed; the issues' paths lead into it. */
export function findingsOfIssues(issues: readonly z.core.$ZodIssue[], root: unknown): readonly Finding[] {
  const findings = issues.flatMap((issue) => findingsOfIssue(issue, root));
  // Several checks of one value say the same.
  return [
    ...new Map(
      findings.map((finding) => [JSON.stringify([finding.path, finding.message]), finding]),
    ).values(),
  ];
}

function findingsOfIssue(issue: z.core.$ZodIssue, root: unknown): readonly Finding[] {
  // Symbols cannot be in a path: the input is JSON.
  const path = issue.path as Path;
  if (issue.code === 'invalid_key') {
    return issue.issues.flatMap((inner) =>
      describe({ path, at: 'key', message: inner.message, value: path.at(-1) }),
    );
  }
  return describe({ path, at: 'value', message: issue.message, value: valueAt(root, path) });
}

interface Described {
  readonly path: Path;
  readonly at: 'key' | 'value';
  readonly message: string;
  readonly value: unknown;
}

function describe({ path, at, message, value }: Described): readonly Finding[] {
  const said = readHint(message);
  if (said !== undefined && 'findings' in said) {
    return said.findings.map((finding) => ({ ...finding, path: [...path, ...finding.path] }));
  }
  const subject = subjectOf(path);
  if (value === undefined) {
    const fix = said?.fix ?? `add \`${path.at(-1) ?? ''}:\`; docs/workflow.md says what it takes`;
    return [{ path, at, code: 'required', message: `${subject} is missing`, fix }];
  }
  const fix = said?.fix ?? 'see docs/workflow.md for what is allowed here';
  const what = said?.what ?? (/^(must|is|has|may) /.test(message) ? message : `is not valid (${message})`);
  return [
    {
      path,
      at,
      code: said?.code ?? 'invalid_value',
      message: `${subject} ${what}, got ${preview(value)}`,
      fix,
    },
  ];
}

function readHint(message: string): Hint | Carried | undefined {
  // What `says` and `carry` wrote, in this same process.
  return message.startsWith(MARK) ? (JSON.parse(message.slice(MARK.length)) as Hint | Carried) : undefined;
}

/** `needs[0]`: the last key of a path and the indexes after it. */
function subjectOf(path: Path): string {
  const start = path.findLastIndex((segment) => typeof segment === 'string');
  const key = path[start];
  if (key === undefined) return 'the document';
  return `\`${key}${path
    .slice(start + 1)
    .map((index) => `[${index}]`)
    .join('')}\``;
}
