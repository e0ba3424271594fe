import type { Problem } from '../errors/app-error.ts';
import { schemaFindings, type WorkflowDocument } from './document.ts';
import { formatPath, type Finding } from './findings.ts';
import { semanticFindings, warningsOf, type ValidateOptions } from './validate.ts';
import { readYaml, type PlacedFinding, type YamlSource } from './yaml-source.ts';

export type ParseOptions = ValidateOptions;

export type ParsedWorkflow =
  | { readonly ok: true; readonly document: WorkflowDocument; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** More would help nobody; another one says that there are more. */
const MAX_PROBLEMS = 100;

/**
 * Reads and checks a workflow written in YAML 1.2, or JSON, which is YAML too. Every problem is reported at once, in the
 * order of the lines, each with its place and what to write instead. Never throws, whatever the text.
 */
export function parseWorkflow(text: string, options: ParseOptions = {}): ParsedWorkflow {
  const { source, problems } = readYaml(text);
  if (source === undefined) return { ok: false, problems: toProblems(problems) };
  const findings = [...schemaFindings(source.value), ...semanticFindings(source.value, options)];
  if (findings.length + problems.length > 0) {
    return { ok: false, problems: toProblems([...problems, ...placed(findings, source)]) };
  }
  // The schema has just been met, and it changes nothing that it is given.
  const document = source.value as WorkflowDocument;
  return { ok: true, document, warnings: toProblems(placed(warningsOf(document), source)) };
}

/** Placing costs a walk each, so a flood of findings is cut before. */
const placed = (findings: readonly Finding[], { locate }: YamlSource): readonly PlacedFinding[] =>
  findings.slice(0, 10_000).map((finding) => ({ ...finding, ...locate(finding) }));

function toProblems(found: readonly PlacedFinding[]): readonly Problem[] {
  const inOrder = found.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const shown = inOrder.slice(0, MAX_PROBLEMS).map(toProblem);
  const last = inOrder[MAX_PROBLEMS];
  if (last === undefined) return shown;
  return [
    ...shown,
    { ...toProblem(last), message: 'and more problems from here on', fix: 'mend these first' },
  ];
}

const toProblem = ({ path, line, column, code, message, fix }: PlacedFinding): Problem => ({
  path: formatPath(path),
  line,
  column,
  code,
  message,
  fix,
});
