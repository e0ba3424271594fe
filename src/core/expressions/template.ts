import type { JsonValue } from '../json.ts';
import { compileProgram, type Program } from './compile.ts';
import { asClause, failLimit, toExpressionError } from './failure.ts';
import { createFrame, type Frame } from './frame.ts';
import {
  jsonSize,
  MAX_JSON_DEPTH,
  type SizeBudget,
  sizeBudget,
  take,
  takeString,
  toBudgetedJson,
} from './json-value.ts';
import { OPEN, type Piece, scanTemplate } from './template-scan.ts';
import {
  type Compiled,
  type CompileOptions,
  DEFAULT_LIMITS,
  type ExpressionProblem,
  type Template,
} from './types.ts';
import { setOwn } from './values.ts';

type Path = readonly (string | number)[];

/** A part in which nothing is evaluated. */
interface Fixed {
  readonly isFixed: true;
  readonly value: JsonValue;
}

interface Variable {
  readonly isFixed: false;
  render(frame: Frame, budget: SizeBudget): JsonValue;
}

type Part = Fixed | Variable;

interface Building {
  readonly options: CompileOptions;
  readonly names: Set<string>;
  readonly stepIds: Set<string>;
  readonly problems: ExpressionProblem[];
}

/**
 * Compiles a JSON value whose strings may hold `${{ }}` (docs/expressions.md). What the expressions give is data: a
 * `${{ }}` in it is never evaluated. The limits hold for the template as a whole.
 */
export function compileTemplate(value: JsonValue, options: CompileOptions): Compiled<Template> {
  const building: Building = { options, names: new Set(), stepIds: new Set(), problems: [] };
  const part = compilePart(building, value, []);
  const { names, stepIds, problems } = building;
  if (problems.length > 0) return { ok: false, problems };
  return {
    ok: true,
    value: {
      isConstant: part.isFixed,
      names,
      stepIds,
      render(scope, limits = DEFAULT_LIMITS) {
        if (part.isFixed) return part.value;
        try {
          return part.render(createFrame(scope, limits), sizeBudget(limits.maxOutputBytes));
        } catch (error) {
          throw toExpressionError(error);
        }
      },
    },
  };
}

function compilePart(building: Building, value: JsonValue, path: Path): Part {
  if (typeof value === 'string') return compileString(building, value, path);
  if (typeof value !== 'object' || value === null) return fixed(value);
  if (path.length >= MAX_JSON_DEPTH) {
    refuse(building, path, 0, 'The value nests too deeply.', `Keep it to ${MAX_JSON_DEPTH} levels.`);
    return fixed(null);
  }
  // Array.isArray does not narrow a readonly array.
  return Array.isArray(value)
    ? compileList(building, value as readonly JsonValue[], path)
    : compileObject(building, value as { readonly [key: string]: JsonValue }, path);
}

const fixed = (value: JsonValue): Fixed => ({ isFixed: true, value });

const isFixed = (part: Part): part is Fixed => part.isFixed;

function refuse(building: Building, path: Path, offset: number, message: string, fix: string): void {
  building.problems.push({ message: asClause(message), fix: asClause(fix), offset, path });
}

function compileList(building: Building, list: readonly JsonValue[], path: Path): Part {
  const parts = list.map((item, index) => compilePart(building, item, [...path, index]));
  if (parts.every(isFixed)) {
    const isUnchanged = parts.every((part, index) => part.value === list[index]);
    return fixed(isUnchanged ? list : parts.map((part) => part.value));
  }
  const renderers = parts.map(rendererOf);
  return {
    isFixed: false,
    render(frame, budget) {
      take(budget, renderers.length + 1);
      return renderers.map((render) => render(frame, budget));
    },
  };
}

function compileObject(building: Building, object: { readonly [key: string]: JsonValue }, path: Path): Part {
  const members = Object.entries(object).map(([key, value]) => {
    if (key.includes(OPEN)) refuseKey(building, [...path, key], key.indexOf(OPEN));
    return { key, value, part: compilePart(building, value, [...path, key]) };
  });
  if (members.every(({ part }) => part.isFixed)) {
    // Every part is fixed.
    const values = members.map(({ key, part }) => ({ key, value: (part as Fixed).value }));
    return fixed(values.every(({ key, value }) => value === object[key]) ? object : toObject(values));
  }
  const renderers = members.map(({ key, part }) => ({ key, render: rendererOf(part) }));
  // Braces, commas and colons.
  const bytes = 1 + members.reduce((sum, { key }) => sum + jsonSize(key) + 2, 0);
  return {
    isFixed: false,
    render(frame, budget) {
      take(budget, bytes);
      return toObject(renderers.map(({ key, render }) => ({ key, value: render(frame, budget) })));
    },
  };
}

function toObject(members: readonly { readonly key: string; readonly value: JsonValue }[]): {
  readonly [key: string]: JsonValue;
} {
  const object: Record<string, JsonValue> = {};
  for (const { key, value } of members) setOwn(object, key, value);
  return object;
}

const refuseKey = (building: Building, path: Path, offset: number): void =>
  refuse(
    building,
    path,
    offset,
    'A key cannot hold ${{ }}.',
    'Make the whole object with an expression: ${{ {trigger.body.name: 1} }}.',
  );

/** Renders a part and takes its size from the budget. */
function rendererOf(part: Part): Variable['render'] {
  if (!part.isFixed) return (frame, budget) => part.render(frame, budget);
  const { value } = part;
  const bytes = jsonSize(value);
  return (_frame, budget) => {
    take(budget, bytes);
    return value;
  };
}

function compileString(building: Building, text: string, path: Path): Part {
  if (!text.includes(OPEN)) return fixed(text);
  const scanned = scanTemplate(text);
  if (!scanned.ok) {
    const fix = 'Close it with }}, or write $${{ for a literal ${{.';
    refuse(building, path, scanned.offset, 'A ${{ is never closed.', fix);
    return fixed(text);
  }
  const { pieces } = scanned;
  const compiled = pieces.map((piece) => compilePiece(building, piece, path));
  const [only, second] = compiled;
  if (second !== undefined || only === undefined) return interpolation(compiled);
  if (typeof only === 'string') return fixed(only);
  return { isFixed: false, render: (frame, budget) => toBudgetedJson(only(frame), budget) };
}

type Run = Program['run'];

function compilePiece(building: Building, piece: Piece, path: Path): string | Run {
  if (piece.type === 'text') return piece.text;
  const compiled = compileProgram(piece.source, building.options);
  if (!compiled.ok) {
    for (const { message, fix, offset } of compiled.problems) {
      refuse(building, path, piece.offset + offset, message, fix);
    }
    return '';
  }
  const { run, names, stepIds } = compiled.value;
  for (const name of names) building.names.add(name);
  for (const id of stepIds) building.stepIds.add(id);
  return run;
}

const interpolation = (pieces: readonly (string | Run)[]): Variable => ({
  isFixed: false,
  render(frame, budget) {
    let text = '';
    for (const piece of pieces) {
      text += typeof piece === 'string' ? piece : toText(piece(frame), budget);
      // Each character is a byte at least; the exact size is taken once the text is whole.
      if (text.length > budget.remaining) failLimit(`The result is larger than ${budget.maxBytes} bytes.`);
    }
    takeString(budget, text);
    return text;
  },
});

/** A value in the middle of text: strings as they are, null as nothing, all else as JSON. */
function toText(value: unknown, { remaining, maxBytes }: SizeBudget): string {
  if (typeof value === 'string') return value;
  const json = toBudgetedJson(value, { remaining, maxBytes });
  if (json === null) return '';
  return typeof json === 'string' ? json : JSON.stringify(json);
}
