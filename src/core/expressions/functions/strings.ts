import { makeCost, spend } from '../frame.ts';
import { KIND, NUMBER } from '../kinds.ts';
import { compilePattern, patternFor, search } from '../regex.ts';
import { format } from './format.ts';
import { type FunctionSpec, type Run, wholeNumber } from './spec.ts';
import * as text from './text.ts';

const { string, list, bool, int } = KIND;

/*
 * Arguments come typed unknown; the kinds in each spec were checked before `run`, which is why casts hold here.
 */
const str = (value: unknown): string => value as string;
const big = (value: number): bigint => BigInt(value);

/** `text.name(...)` that reads its text once and gives a new one of about that length. */
const rewrite = (name: string, change: (value: string) => string): FunctionSpec => ({
  name,
  on: string,
  args: [],
  returns: string,
  run(frame, value) {
    spend(frame, makeCost(str(value).length));
    return change(str(value));
  },
});

const MATCHES: Pick<FunctionSpec, 'returns' | 'run' | 'bind'> = {
  returns: bool,
  run: (frame, value, pattern) => search(frame, patternFor(frame, str(pattern)), str(value)),
  bind(literal): Run {
    const pattern = compilePattern(str(literal));
    return (frame, value) => search(frame, pattern, str(value));
  },
};

const SEARCHES: readonly FunctionSpec[] = [
  {
    name: 'startsWith',
    on: string,
    args: [string],
    returns: bool,
    run(frame, value, part) {
      spend(frame, 1 + (str(part).length >> 8));
      return str(value).startsWith(str(part));
    },
  },
  {
    name: 'endsWith',
    on: string,
    args: [string],
    returns: bool,
    run(frame, value, part) {
      spend(frame, 1 + (str(part).length >> 8));
      return str(value).endsWith(str(part));
    },
  },
  {
    name: 'contains',
    on: string,
    args: [string],
    returns: bool,
    run(frame, value, part) {
      text.spendSearch(frame, str(value), str(part));
      return str(value).includes(str(part));
    },
  },
  { name: 'matches', on: string, args: [string], ...MATCHES },
  { name: 'matches', args: [string, string], ...MATCHES },
  {
    name: 'indexOf',
    on: string,
    args: [string],
    returns: int,
    run: (frame, value, part) => big(text.indexOf(frame, str(value), str(part))),
  },
  {
    name: 'indexOf',
    on: string,
    args: [string, NUMBER],
    returns: int,
    run: (frame, value, part, from) =>
      big(text.indexOf(frame, str(value), str(part), wholeNumber(from, 'indexOf()'))),
  },
  {
    name: 'lastIndexOf',
    on: string,
    args: [string],
    returns: int,
    run: (frame, value, part) => big(text.lastIndexOf(frame, str(value), str(part))),
  },
  {
    name: 'lastIndexOf',
    on: string,
    args: [string, NUMBER],
    returns: int,
    run: (frame, value, part, from) =>
      big(text.lastIndexOf(frame, str(value), str(part), wholeNumber(from, 'lastIndexOf()'))),
  },
];

const PARTS: readonly FunctionSpec[] = [
  {
    name: 'charAt',
    on: string,
    args: [NUMBER],
    returns: string,
    run: (frame, value, index) => text.charAt(frame, str(value), wholeNumber(index, 'charAt()')),
  },
  {
    name: 'substring',
    on: string,
    args: [NUMBER],
    returns: string,
    run: (frame, value, start) =>
      text.substring(frame, str(value), wholeNumber(start, 'substring()'), undefined),
  },
  {
    name: 'substring',
    on: string,
    args: [NUMBER, NUMBER],
    returns: string,
    run: (frame, value, start, end) =>
      text.substring(frame, str(value), wholeNumber(start, 'substring()'), wholeNumber(end, 'substring()')),
  },
  {
    name: 'split',
    on: string,
    args: [string],
    returns: list,
    run: (frame, value, separator) => text.split(frame, str(value), str(separator)),
  },
  {
    name: 'split',
    on: string,
    args: [string, NUMBER],
    returns: list,
    run: (frame, value, separator, limit) =>
      text.split(frame, str(value), str(separator), wholeNumber(limit, 'split()')),
  },
  {
    name: 'replace',
    on: string,
    args: [string, string],
    returns: string,
    run: (frame, value, old, by) => text.replace(frame, str(value), str(old), str(by)),
  },
  {
    name: 'replace',
    on: string,
    args: [string, string, NUMBER],
    returns: string,
    run: (frame, value, old, by, limit) =>
      text.replace(frame, str(value), str(old), str(by), wholeNumber(limit, 'replace()')),
  },
  {
    name: 'join',
    on: list,
    args: [],
    returns: string,
    run: (frame, items) => text.join(frame, items as readonly unknown[], ''),
  },
  {
    name: 'join',
    on: list,
    args: [string],
    returns: string,
    run: (frame, items, separator) => text.join(frame, items as readonly unknown[], str(separator)),
  },
];

/** CEL's standard string functions and its extension `strings`. */
export const STRING_FUNCTIONS: readonly FunctionSpec[] = [
  ...SEARCHES,
  ...PARTS,
  rewrite('lowerAscii', text.lowerAscii),
  rewrite('upperAscii', text.upperAscii),
  rewrite('trim', (value) => value.trim()),
  {
    name: 'reverse',
    on: string,
    args: [],
    returns: string,
    run: (frame, value) => [...text.codePoints(frame, str(value))].reverse().join(''),
  },
  {
    name: 'strings.quote',
    args: [string],
    returns: string,
    run(frame, value) {
      spend(frame, makeCost(str(value).length));
      return text.quote(str(value));
    },
  },
  {
    name: 'format',
    on: string,
    args: [list],
    returns: string,
    run: (frame, pattern, items) => format(frame, str(pattern), items as readonly unknown[]),
  },
];
