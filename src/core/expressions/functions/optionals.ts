import { fail } from '../failure.ts';
import { ANY, KIND } from '../kinds.ts';
import { Optional } from '../values.ts';
import type { FunctionSpec } from './spec.ts';

const { bool, optional } = KIND;

/** CEL's optional values; `or`, `orValue`, `optMap` and `optFlatMap` are macros, as they may not need an argument. */
export const OPTIONAL_FUNCTIONS: readonly FunctionSpec[] = [
  { name: 'optional.none', args: [], returns: optional, run: () => Optional.none },
  { name: 'optional.of', args: [ANY], returns: optional, run: (_frame, value) => Optional.of(value) },
  {
    name: 'optional.ofNonZeroValue',
    args: [ANY],
    returns: optional,
    run: (_frame, value) => (isZero(value) ? Optional.none : Optional.of(value)),
  },
  {
    name: 'hasValue',
    on: optional,
    args: [],
    returns: bool,
    run: (_frame, value) => (value as Optional).present,
  },
  {
    name: 'value',
    on: optional,
    args: [],
    returns: ANY,
    run(_frame, value) {
      const { present, value: inner } = value as Optional;
      return present ? inner : fail('The optional has no value: use .orValue(...) for what is then meant.');
    },
  },
];

function isZero(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  if (typeof value === 'string' || Array.isArray(value) || value instanceof Uint8Array)
    return value.length === 0;
  if (typeof value !== 'object') return value === false || Number(value) === 0;
  return Object.getPrototypeOf(value) === Object.prototype && Object.keys(value).length === 0;
}
