import { compileExpression } from '../expressions/compile.ts';
import { compileTemplate } from '../expressions/template.ts';
import type { Compiled, Expression } from '../expressions/types.ts';
import { isRecord } from '../json.ts';
import { collectFindings, type Finding, type Path } from './findings.ts';
import { stepReference } from './names.ts';
import type { Outline, OutlinedStep } from './outline.ts';
import { KINDS } from './steps/kinds.ts';
import type { Site } from './steps/kind.ts';
import { triggerSites } from './triggers.ts';
import { FOR_EACH_NAMES, STEP_NAMES, WEBHOOK_NAMES } from './types.ts';
import { unknownStep } from './validate-steps.ts';

/** Compiling is cheap, but a document of 1 MiB could hold 80,000 of them. */
export const MAX_EXPRESSIONS = 5_000;
/** To find its place in the source, each costs a walk along the text. */
const MAX_FINDINGS_PER_TEXT = 20;

/** A string that is evaluated, and what it may name. */
interface Evaluated {
  readonly path: Path;
  /** `key`: a key that looks like a template, which is never evaluated. */
  readonly type: Site['type'] | 'key';
  readonly text: string;
  readonly names: readonly string[];
  /** The step it belongs to; none: it may read every step. */
  readonly step: OutlinedStep | undefined;
}

/** Every expression and template of the document is compiled, and the steps it reads are looked for. */
export function expressionFindings(outline: Outline): readonly Finding[] {
  const evaluated = evaluatedStrings(outline);
  if (evaluated.length > MAX_EXPRESSIONS) {
    const message = `there are ${evaluated.length} expressions, at most ${MAX_EXPRESSIONS} are allowed`;
    return [{ path: [], code: 'too_large', message, fix: 'use `forEach`, or split the workflow' }];
  }
  return collectFindings(evaluated, (one) => findingsOf(one, outline));
}

function evaluatedStrings({ root, triggers, steps }: Outline): readonly Evaluated[] {
  return [
    ...triggers.flatMap(({ path, raw }) => placed(triggerSites(raw), path, WEBHOOK_NAMES, undefined)),
    ...steps.flatMap(stepStrings),
    ...placed([valueSite('output', root.output)], [], STEP_NAMES, undefined),
  ];
}

function stepStrings(step: OutlinedStep): readonly Evaluated[] {
  const { path, raw, kind } = step;
  const itemNames = Object.hasOwn(raw, 'forEach') ? [...STEP_NAMES, ...FOR_EACH_NAMES] : STEP_NAMES;
  const condition: Site = { path: ['if'], type: 'expression', value: raw.if };
  const input: Site = { path: ['input'], type: 'template', value: raw.input };
  return [
    ...placed([condition, valueSite('forEach', raw.forEach)], path, STEP_NAMES, step),
    ...placed([input], path, itemNames, step),
    ...(kind === undefined ? [] : placed(KINDS[kind].sites(raw), path, itemNames, step)),
  ];
}

/** A string is an expression, anything else a template. */
const valueSite = (key: string, value: unknown): Site => ({
  path: [key],
  type: typeof value === 'string' ? 'expression' : 'template',
  value,
});

function placed(
  sites: readonly Site[],
  base: Path,
  names: readonly string[],
  step: OutlinedStep | undefined,
): readonly Evaluated[] {
  return sites.flatMap(({ path, type, value }) =>
    stringsIn(value, [...base, ...path])
      .filter(({ text }) => type === 'expression' || text.includes('${{'))
      .map(({ isKey, ...string }) => ({ ...string, type: isKey ? 'key' : type, names, step })),
  );
}

interface FoundString {
  readonly path: Path;
  readonly text: string;
  readonly isKey: boolean;
}

function stringsIn(value: unknown, path: Path): readonly FoundString[] {
  if (typeof value === 'string') return [{ path, text: value, isKey: false }];
  if (Array.isArray(value)) return value.flatMap((item, index) => stringsIn(item, [...path, index]));
  if (!isRecord(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => [
    { path: [...path, key], text: key, isKey: true },
    ...stringsIn(item, [...path, key]),
  ]);
}

function findingsOf(evaluated: Evaluated, outline: Outline): readonly Finding[] {
  const { path, type, text, names, step } = evaluated;
  if (text === '') return []; // the schema says so already
  if (type === 'key') return keyFindings(path, text);
  if (type === 'expression' && text.includes('${{')) return [wrappedExpression(path, text)];
  const compiled: Compiled<Pick<Expression, 'names' | 'stepIds'>> =
    type === 'expression' ? compileExpression(text, { names }) : compileTemplate(text, { names });
  if (!compiled.ok) {
    const dashed = dashedReference(evaluated, outline);
    if (dashed !== undefined) return [dashed];
    return compiled.problems.slice(0, MAX_FINDINGS_PER_TEXT).map(({ message, fix, offset }) => ({
      path,
      offset,
      code: 'invalid_expression',
      message,
      fix,
    }));
  }
  const { names: read, stepIds } = compiled.value;
  if (step !== undefined && read.has('steps') && stepIds.size === 0) return [anyStep(path, text)];
  return collectFindings(stepIds, (id) => referenceFindings(id, evaluated, outline), MAX_FINDINGS_PER_TEXT);
}

/** Which step it is would only be known when it runs, and then that one need not have ended. */
const anyStep = (path: Path, text: string): Finding => ({
  path,
  offset: Math.max(0, text.search(/\bsteps\b/)),
  code: 'invalid_expression',
  message: 'a step has to be read by its id',
  fix: 'write `steps.<id>` or `steps["<id>"]`, with the id as it stands under `steps:`',
});

function keyFindings(path: Path, key: string): readonly Finding[] {
  const compiled = compileTemplate({ [key]: null }, { names: [] });
  if (compiled.ok) return [];
  return compiled.problems.map(({ message, fix }) => ({
    path,
    at: 'key',
    code: 'invalid_expression',
    message,
    fix,
  }));
}

function wrappedExpression(path: Path, text: string): Finding {
  const inner = /^\s*\$\{\{(.*)\}\}\s*$/s.exec(text)?.[1]?.trim();
  return {
    path,
    offset: text.indexOf('${{'),
    code: 'invalid_expression',
    message: 'this is an expression already, so it takes no `${{ }}`',
    fix:
      inner === undefined || inner.includes('${{')
        ? 'join text in the expression itself: `"order " + string(trigger.body.id)`'
        : `write \`${inner}\``,
  };
}

/** `steps.my-step` means `steps.my` minus `step`. */
function dashedReference({ path, text }: Evaluated, { stepById }: Outline): Finding | undefined {
  for (const match of text.matchAll(/\bsteps\.([A-Za-z]\w*(?:-\w+)+)/g)) {
    const [reference, written = ''] = match;
    // The longest id that stands there, in case something is really subtracted from it.
    const ids = [...stepById.keys()].filter((id) => id.includes('-') && written.startsWith(id));
    const [id] = ids.sort((a, b) => b.length - a.length);
    if (id === undefined || stepById.has(written.split('-')[0] ?? '')) continue;
    return {
      path,
      offset: match.index,
      code: 'invalid_expression',
      message: `\`${reference}\` is a subtraction, not a step`,
      fix: `write \`${stepReference(id)}\``,
    };
  }
  return undefined;
}

function referenceFindings(id: string, evaluated: Evaluated, outline: Outline): readonly Finding[] {
  const { path, text, step } = evaluated;
  const offset = Math.max(0, referenceOffset(id, text));
  if (!outline.stepById.has(id)) {
    return [
      dashedReference(evaluated, outline) ?? { ...unknownStep(id, outline.stepById.keys(), path), offset },
    ];
  }
  if (step === undefined || outline.ancestors(step).has(id)) return [];
  const common = { path, offset, code: 'missing_need' } as const;
  if (id === step.id) {
    return [
      { ...common, message: `the step \`${id}\` cannot read itself`, fix: 'read a step that it needs' },
    ];
  }
  return [
    {
      ...common,
      message: `\`${stepReference(id)}\` may not have ended when this step starts`,
      fix: `add \`needs: [${[...step.needs, id].join(', ')}]\``,
    },
  ];
}

const referenceOffset = (id: string, text: string): number =>
  Math.max(text.indexOf(`steps.${id}`), text.indexOf(`steps["${id}"]`), text.indexOf(`steps['${id}']`));
