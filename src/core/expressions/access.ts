import type { ASTNode } from '@marcbachmann/cel-js';
import { type Code, compileIn, isValueName, problem, type Site, sourceOf } from './code.ts';
import { fail } from './failure.ts';
import type { Frame } from './frame.ts';
import { ANY, describeKinds, isPlainObject, KIND, kindOf, TYPES } from './kinds.ts';
import { listIndex, mapKey, Optional, quoteKey } from './values.ts';

type Run = (frame: Frame) => unknown;

/** A key read from an object, with the texts for when it is not there. */
interface Selection {
  readonly key: string;
  readonly of: string;
  readonly whole: string;
  readonly remedy: string;
}

/*
 * Only own properties of plain objects are ever read: `constructor`, `__proto__` and methods of the host are not there
 * unless the data has such a key.
 */

/** The value under `key`, or undefined. */
function read(map: object, key: string): unknown {
  return isPlainObject(map) && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** `left.key` */
export function compileField(site: Site, node: ASTNode, leftNode: ASTNode, key: string): Code {
  const type = compileTypeName(site, node);
  if (type !== undefined) return type;
  noteStep(site, leftNode, key);
  const whole = sourceOf(site, node);
  const of = sourceOf(site, leftNode);
  return compileKey(site, node, leftNode, {
    key,
    of,
    whole,
    remedy: `Test it with has(${whole}), or write ${of}.?${key}.orValue(...)`,
  });
}

/** `left[index]` */
export function compileIndex(site: Site, node: ASTNode, leftNode: ASTNode, indexNode: ASTNode): Code {
  const of = sourceOf(site, leftNode);
  if (indexNode.op === 'value' && typeof indexNode.args === 'string') {
    const key = indexNode.args;
    noteStep(site, leftNode, key);
    const whole = sourceOf(site, node);
    const remedy = `Test it with has(${whole}), or write ${of}[?${sourceOf(site, indexNode)}].orValue(...)`;
    return compileKey(site, node, leftNode, { key, of, whole, remedy });
  }
  const left = compileIn(site, leftNode);
  const index = compileIn(site, indexNode);
  if ((left.kinds & (KIND.list | KIND.map | KIND.optional)) === 0)
    return noMembers(site, node, left, 'members');
  const [runLeft, runIndex] = [left.run, index.run];
  return { kinds: ANY, run: (frame) => member(runLeft(frame), runIndex(frame), of) };
}

function compileKey(site: Site, node: ASTNode, leftNode: ASTNode, selection: Selection): Code {
  const left = compileIn(site, leftNode);
  if ((left.kinds & (KIND.map | KIND.optional)) === 0) {
    return noMembers(site, node, left, `key ${quoteKey(selection.key)}`);
  }
  const { run } = left;
  const { key } = selection;
  return {
    kinds: left.kinds === KIND.optional ? KIND.optional : ANY,
    run(frame) {
      const value = run(frame);
      if (typeof value === 'object' && value !== null) {
        const found = read(value, key);
        if (found !== undefined) return found;
        if (value instanceof Optional) return selectFrom(value, key);
      }
      return missing(value, selection);
    },
  };
}

const noMembers = (site: Site, node: ASTNode, left: Code, what: string): Code =>
  problem(
    site,
    node,
    `${describeKinds(left.kinds)} has no ${what}.`,
    'Only objects have keys, and only lists and objects have members.',
    ANY,
  );

/** Reading from an optional gives an optional, absent when any part of the way is. */
function selectFrom(optional: Optional, key: unknown): Optional {
  const { present, value } = optional;
  if (!present || typeof value !== 'object' || value === null) return Optional.none;
  if (value instanceof Optional) return selectFrom(value, key);
  const found = Array.isArray(value) ? value[listIndex(key) ?? -1] : read(value, mapKey(key));
  return found === undefined ? Optional.none : Optional.of(found);
}

function missing(value: unknown, { key, of, whole, remedy }: Selection): never {
  if (key === 'length' && (typeof value === 'string' || Array.isArray(value))) {
    return fail(`\`${of}\` is ${describeKinds(kindOf(value))}: its length is size(${of}).`);
  }
  if (typeof value !== 'object' || value === null || !isPlainObject(value)) {
    return fail(
      `\`${whole}\` cannot be read: \`${of}\` is ${describeKinds(kindOf(value))}, which has no key ${quoteKey(key)}. ${remedy}.`,
    );
  }
  return fail(`\`${whole}\` is missing: \`${of}\` has no key ${quoteKey(key)}. ${remedy}.`);
}

/** `left[index]` for an index known at run: a place in a list, or any key of an object. */
function member(left: unknown, index: unknown, of: string): unknown {
  if (Array.isArray(left)) {
    const place = listIndex(index);
    if (place === undefined) {
      return fail(
        `\`${of}\` is a list: its index must be a whole number, got ${describeKinds(kindOf(index))}.`,
      );
    }
    if (place < 0 || place >= left.length) {
      return fail(
        `\`${of}[${place}]\` is missing: the list has ${left.length} items, counted from 0. Test size(${of}) first, or write ${of}[?${place}].orValue(...).`,
      );
    }
    return (left as readonly unknown[])[place] ?? null;
  }
  if (left instanceof Optional) return selectFrom(left, index);
  if (typeof left !== 'object' || left === null || !isPlainObject(left)) {
    return fail(
      `\`${of}\` is ${describeKinds(kindOf(left))}: only lists and objects are read with [ ]. Use substring() for strings.`,
    );
  }
  const key = mapKey(index);
  return (
    read(left, key) ??
    fail(
      `\`${of}[…]\` is missing: the object has no key ${quoteKey(key)}. Test it with \`key in ${of}\`, or write ${of}[?key].orValue(...).`,
    )
  );
}

/** `left.?key` and `left[?index]` */
export function compileOptional(site: Site, leftNode: ASTNode, key: string | ASTNode): Code {
  const left = compileIn(site, leftNode).run;
  if (typeof key === 'string') {
    noteStep(site, leftNode, key);
    return { kinds: KIND.optional, run: (frame) => selectFrom(Optional.of(left(frame)), key) };
  }
  if (key.op === 'value' && typeof key.args === 'string') noteStep(site, leftNode, key.args);
  const index = compileIn(site, key).run;
  return {
    kinds: KIND.optional,
    run(frame) {
      const of = left(frame);
      return selectFrom(Optional.of(of), index(frame));
    },
  };
}

/** `has(e.key)`; `has(e["key"])` too, because headers are not identifiers. False when `e` is null or no object. */
export function compileHas(site: Site, node: ASTNode, argument: ASTNode): Code {
  const { op } = argument;
  if (op === '.' || op === '.?') {
    return testKey(site, compileIn(site, argument.args[0]).run, argument.args[0], argument.args[1]);
  }
  if (op === '[]' || op === '[?]') {
    const [of, index] = argument.args;
    if (index.op === 'value' && typeof index.args === 'string') {
      return testKey(site, compileIn(site, of).run, of, index.args);
    }
  }
  return problem(
    site,
    node,
    'has() tests for a key of an object.',
    'Write has(trigger.body.key), or has(trigger.headers["a-key"]); for lists compare size(list).',
    KIND.bool,
  );
}

function testKey(site: Site, left: Run, leftNode: ASTNode, key: string): Code {
  noteStep(site, leftNode, key);
  return {
    kinds: KIND.bool,
    run(frame) {
      const value = left(frame);
      return selectFrom(value instanceof Optional ? value : Optional.of(value), key).present;
    },
  };
}

/** Notes `steps.<id>`, so that a workflow can be checked for steps that do not exist. */
function noteStep(site: Site, of: ASTNode, key: string): void {
  if (of.op === 'id' && of.args === 'steps' && isRoot(site, 'steps')) site.compilation.stepIds.add(key);
}

const isRoot = (site: Site, name: string): boolean => {
  for (let at = site.variables; at !== undefined; at = at.outer) if (at.name === name) return false;
  return site.compilation.rootNames.has(name);
};

/** `google.protobuf.Timestamp`, the one kind of name that has dots. */
function compileTypeName(site: Site, node: ASTNode): Code | undefined {
  const path = dottedName(node);
  if (path === undefined || isValueName(site, path.split('.', 1)[0] ?? '')) return undefined;
  const type = TYPES.get(path);
  return type === undefined ? undefined : { kinds: KIND.type, run: () => type };
}

function dottedName(node: ASTNode): string | undefined {
  if (node.op === 'id') return node.args;
  if (node.op !== '.') return undefined;
  const left = dottedName(node.args[0]);
  return left === undefined ? undefined : `${left}.${node.args[1]}`;
}
