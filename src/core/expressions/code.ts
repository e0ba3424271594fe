import type { ASTNode } from '@marcbachmann/cel-js';
import { asClause, shorten } from './failure.ts';
import type { Frame } from './frame.ts';
import type { KindSet } from './kinds.ts';
import type { ExpressionProblem } from './types.ts';

/** Characters of an expression that a message quotes. */
const MAX_SHOWN = 80;

/** Problems listed of one expression; more would not be read. */
const MAX_PROBLEMS = 20;

/** A compiled part of an expression. */
export interface Code {
  /** What may come out, as far as is known when the workflow is saved. */
  readonly kinds: KindSet;
  readonly run: (frame: Frame) => unknown;
}

/** The variables that macros around a part define, innermost first. */
export interface Variables {
  readonly name: string;
  /** Index into {@link Frame.locals}; an inner macro uses the next one. */
  readonly slot: number;
  readonly kinds: KindSet;
  readonly outer: Variables | undefined;
}

/** What is known while one expression is compiled; collects what it reads and what is wrong with it. */
export interface Compilation {
  readonly source: string;
  readonly rootNames: ReadonlySet<string>;
  readonly names: Set<string>;
  readonly stepIds: Set<string>;
  readonly problems: ExpressionProblem[];
  compile(node: ASTNode, variables: Variables | undefined, depth: number): Code;
}

/** Where a part is compiled: what all compiling functions pass on. */
export interface Site {
  readonly compilation: Compilation;
  readonly variables: Variables | undefined;
  readonly depth: number;
}

/** Compiles a part of the part at `site`. */
export const compileIn = (site: Site, node: ASTNode, variables = site.variables): Code =>
  site.compilation.compile(node, variables, site.depth + 1);

/** Stands in for a part that has a problem, so that the rest is still checked. */
export function problem(site: Site, node: ASTNode, message: string, fix: string, kinds: KindSet): Code {
  const { problems } = site.compilation;
  if (problems.length < MAX_PROBLEMS) {
    problems.push({ message: asClause(message), fix: asClause(fix), offset: node.pos });
  }
  return { kinds, run: () => undefined };
}

/** The author's own text of a part, for messages. */
export function sourceOf(site: Site, { start, end }: ASTNode): string {
  // More than is shown, as spaces shrink; not all of it, as every part of a long chain asks.
  const text = site.compilation.source.slice(start, Math.min(end, start + 2 * MAX_SHOWN));
  return shorten(text.replace(/\s+/g, ' '), MAX_SHOWN);
}

export function findVariable(variables: Variables | undefined, name: string): Variables | undefined {
  for (let at = variables; at !== undefined; at = at.outer) if (at.name === name) return at;
  return undefined;
}

/** Adds a variable in a slot of its own. */
export const withVariable = (outer: Variables | undefined, name: string, kinds: KindSet): Variables => ({
  name,
  slot: outer === undefined ? 0 : outer.slot + 1,
  kinds,
  outer,
});

/** True for a name that data or a macro defines, not a namespace or a type. */
export const isValueName = (site: Site, name: string): boolean =>
  findVariable(site.variables, name) !== undefined || site.compilation.rootNames.has(name);
