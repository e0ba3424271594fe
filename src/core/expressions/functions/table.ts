import { CONVERSIONS } from './convert.ts';
import { OPTIONAL_FUNCTIONS } from './optionals.ts';
import type { FunctionSpec } from './spec.ts';
import { STRING_FUNCTIONS } from './strings.ts';
import { TIME_FUNCTIONS } from './times.ts';

export const FUNCTIONS: readonly FunctionSpec[] = [
  ...CONVERSIONS,
  ...STRING_FUNCTIONS,
  ...TIME_FUNCTIONS,
  ...OPTIONAL_FUNCTIONS,
];

/** `optional` in `optional.of(...)`: names that are not values. */
export const NAMESPACES: ReadonlySet<string> = new Set(['cel', 'optional', 'strings']);

const keyOf = (isMethod: boolean, name: string, argCount: number): string =>
  `${isMethod ? '.' : ''}${name}/${argCount}`;

const BY_KEY: ReadonlyMap<string, FunctionSpec> = new Map(
  FUNCTIONS.map((spec) => [keyOf(spec.on !== undefined, spec.name, spec.args.length), spec]),
);

export const findFunction = (isMethod: boolean, name: string, argCount: number): FunctionSpec | undefined =>
  BY_KEY.get(keyOf(isMethod, name, argCount));

/** How a function may be called, e.g. `text.split(separator)`; empty when there is none of that name. */
export const formsOf = (name: string): readonly string[] =>
  FUNCTIONS.filter((spec) => spec.name === name).map(
    (spec) => `${spec.on === undefined ? '' : 'value.'}${name}(${spec.args.map(() => '…').join(', ')})`,
  );
