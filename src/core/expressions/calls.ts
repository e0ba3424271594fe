import type { ASTNode } from '@marcbachmann/cel-js';
import { compileHas } from './access.ts';
import { type Code, compileIn, isValueName, problem, type Site, sourceOf } from './code.ts';
import { ExpressionError } from './types.ts';
import { fail } from './failure.ts';
import type { Frame } from './frame.ts';
import type { FunctionSpec, Run } from './functions/spec.ts';
import { findFunction, formsOf, FUNCTIONS, NAMESPACES } from './functions/table.ts';
import { ANY, describeKinds, KIND, kindOf, type KindSet } from './kinds.ts';
import { compileBind, compileMacro } from './macros.ts';

/** An argument or receiver with what it must be. */
interface Operand {
  readonly node: ASTNode;
  readonly code: Code;
  readonly allowed: KindSet;
}

/** `name(args)` */
export function compileCall(site: Site, node: ASTNode, name: string, args: readonly ASTNode[]): Code {
  const [first] = args;
  if (name === 'has' && first !== undefined && args.length === 1) return compileHas(site, node, first);
  return compileFunction(site, node, name, undefined, args);
}

/** `receiver.name(args)`: a macro, a function of a namespace, or a method. */
export function compileMethod(
  site: Site,
  node: ASTNode,
  name: string,
  receiver: ASTNode,
  args: readonly ASTNode[],
): Code {
  if (receiver.op === 'id' && NAMESPACES.has(receiver.args) && !isValueName(site, receiver.args)) {
    const [variable, value, body] = args;
    if (
      receiver.args === 'cel' &&
      name === 'bind' &&
      variable !== undefined &&
      value !== undefined &&
      body !== undefined
    ) {
      return compileBind(site, variable, value, body);
    }
    return compileFunction(site, node, `${receiver.args}.${name}`, undefined, args);
  }
  return compileMacro(site, node, name, receiver, args) ?? compileFunction(site, node, name, receiver, args);
}

function compileFunction(
  site: Site,
  node: ASTNode,
  name: string,
  receiver: ASTNode | undefined,
  args: readonly ASTNode[],
): Code {
  const spec = findFunction(receiver !== undefined, name, args.length);
  const nodes = receiver === undefined ? args : [receiver, ...args];
  const codes = nodes.map((operand) => compileIn(site, operand));
  if (spec === undefined) return unknownFunction(site, node, name);
  const allowed = spec.on === undefined ? spec.args : [spec.on, ...spec.args];
  // One kind is allowed for each argument: the function was found by their number.
  const operands = nodes.map((operand, i) => ({ node: operand, code: codes[i]!, allowed: allowed[i]! }));
  const wrong = operands.find((operand) => (operand.code.kinds & operand.allowed) === 0);
  if (wrong !== undefined) {
    return problem(
      site,
      wrong.node,
      `${name}() needs ${describeKinds(wrong.allowed)} here, not ${describeKinds(wrong.code.kinds)}.`,
      kindFix(wrong.code.kinds, wrong.allowed),
      spec.returns,
    );
  }
  const run = bindLiteral(site, spec, operands);
  const checked = operands.map((operand) => checkOperand(site, name, operand));
  return { kinds: spec.returns, run: callOf(run, checked) };
}

/** Spelled out rather than spread: every call of every filter goes through here. */
function callOf(run: Run, operands: readonly ((frame: Frame) => unknown)[]): (frame: Frame) => unknown {
  const none = (): undefined => undefined;
  const [a = none, b = none, c = none, d = none] = operands;
  switch (operands.length) {
    case 1:
      return (frame) => run(frame, a(frame), undefined, undefined, undefined);
    case 2:
      return (frame) => run(frame, a(frame), b(frame), undefined, undefined);
    default:
      return (frame) => run(frame, a(frame), b(frame), c(frame), d(frame));
  }
}

/** Lets the function prepare a literal last argument, so that a bad pattern or duration is found at save. */
function bindLiteral(site: Site, spec: FunctionSpec, operands: readonly Operand[]): Run {
  const last = operands.at(-1);
  if (spec.bind === undefined || last === undefined || last.node.op !== 'value') return spec.run;
  try {
    return spec.bind(last.node.args);
  } catch (error) {
    if (!(error instanceof ExpressionError || error instanceof RangeError)) throw error;
    problem(site, last.node, error.message, `Mend the text given to ${spec.name}().`, spec.returns);
    return spec.run;
  }
}

function checkOperand(site: Site, name: string, { node, code, allowed }: Operand): (frame: Frame) => unknown {
  const { run, kinds } = code;
  if ((kinds & ~allowed) === 0) return run;
  const text = sourceOf(site, node);
  return (frame) => {
    const value = run(frame);
    const kind = kindOf(value);
    if ((kind & allowed) !== 0) return value;
    return fail(
      `${name}() needs ${describeKinds(allowed)}: \`${text}\` is ${describeKinds(kind)}. ${kindFix(kind, allowed)}`,
    );
  };
}

function kindFix(got: KindSet, wanted: KindSet): string {
  if ((got & KIND.optional) !== 0) return 'Unwrap it with .orValue(...).';
  if ((got & KIND.null) !== 0) return 'Test it first: x != null && ….';
  if (wanted === KIND.string) return 'Convert it with string(...) or toJson(...).';
  if ((wanted & KIND.optional) !== 0) return 'Read the key with .?, which gives an optional.';
  return `Give it ${describeKinds(wanted)}.`;
}

function unknownFunction(site: Site, node: ASTNode, name: string): Code {
  const forms = formsOf(name);
  if (forms.length > 0) {
    return problem(site, node, `${name}() cannot be called like this.`, `Write ${forms.join(' or ')}.`, ANY);
  }
  const meant = HABITS.get(name);
  if (meant !== undefined) {
    return problem(site, node, `There is no function ${name}().`, `Use ${formsOf(meant).join(' or ')}.`, ANY);
  }
  const known = [...new Set([...FUNCTIONS.map((spec) => spec.name), ...MACROS])].sort();
  return problem(site, node, `There is no function ${name}().`, `Use one of: ${known.join(', ')}.`, ANY);
}

/** Functions as other languages name them. */
const HABITS: ReadonlyMap<string, string> = new Map([
  ['length', 'size'],
  ['len', 'size'],
  ['count', 'size'],
  ['lower', 'lowerAscii'],
  ['toLowerCase', 'lowerAscii'],
  ['upper', 'upperAscii'],
  ['toUpperCase', 'upperAscii'],
  ['includes', 'contains'],
  ['slice', 'substring'],
  ['substr', 'substring'],
  ['match', 'matches'],
  ['test', 'matches'],
  ['replaceAll', 'replace'],
  ['parseInt', 'int'],
  ['parseFloat', 'double'],
  ['Number', 'double'],
  ['number', 'double'],
  ['float', 'double'],
  ['String', 'string'],
  ['str', 'string'],
  ['toString', 'string'],
  ['toJSON', 'toJson'],
  ['fromJSON', 'fromJson'],
  ['parseJson', 'fromJson'],
  ['json', 'toJson'],
  ['date', 'timestamp'],
]);

const MACROS = [
  'has',
  'all',
  'exists',
  'exists_one',
  'filter',
  'map',
  'or',
  'orValue',
  'optMap',
  'optFlatMap',
  'cel.bind',
];
