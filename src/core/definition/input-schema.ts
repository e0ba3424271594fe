import { Validator, type Schema } from '@cfworker/json-schema';
import type { Problem } from '../errors/app-error.ts';
import { isRecord, type JsonObject, type JsonValue } from '../json.ts';
import { formatPath } from './findings.ts';
import { assertionsOf, expandedSize } from './input-schema-findings.ts';

/** Size of the schema × values in the input. */
const MAX_WORK = 5_000_000;
/** Beyond this many values only the first problem is looked for. */
const MAX_VALUES_FOR_ALL_PROBLEMS = 10_000;

/**
 * What keeps `input` from matching, as problems with paths into it; none when it matches.
 *
 * @param schema one that `inputSchemaFindings` had nothing against
 */
export function checkInput(schema: JsonObject | boolean, input: JsonValue): readonly Problem[] {
  const values = countValues(input);
  if (Number(expandedSize(schema)) * values > MAX_WORK) {
    return [
      inputProblem('', `the input has ${values} values, too many for this inputSchema`, 'send less at once'),
    ];
  }
  const firstOnly = values > MAX_VALUES_FOR_ALL_PROBLEMS;
  const validator = new Validator(assertionsOf(schema) as Schema | boolean, '2020-12', firstOnly);
  const { errors } = validator.validate(wellFormed(input));
  // An applicator's error only says that one of those below it failed.
  const leaves = errors.filter(({ keyword }) => !APPLICATORS.has(keyword));
  return (leaves.length > 0 ? leaves : errors)
    .slice(0, 100)
    .map(({ instanceLocation, keyword, error }) =>
      inputProblem(
        pathOfPointer(instanceLocation),
        error,
        `send what \`${keyword}\` of the inputSchema allows`,
      ),
    );
}

const APPLICATORS: ReadonlySet<string> = new Set([
  '$ref',
  'allOf',
  'anyOf',
  'if',
  'properties',
  'additionalProperties',
  'propertyNames',
  'dependentSchemas',
  'prefixItems',
  'items',
]);

const inputProblem = (path: string, message: string, fix: string): Problem => ({
  path,
  code: 'input_invalid',
  message,
  fix,
});

/** Names with lone surrogates would make the validator's URI encoding throw. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key.toWellFormed(), wellFormed(item)]),
  );
}

function countValues(value: unknown): number {
  const open: unknown[] = [value];
  let count = 0;
  for (; open.length > 0; count += 1) {
    const next = open.pop();
    if (typeof next === 'object' && next !== null) for (const item of Object.values(next)) open.push(item);
  }
  return count;
}

/** RFC 6901 in the form of a URI fragment, `#/items/0`, as a path like those of other problems. */
function pathOfPointer(pointer: string): string {
  const segments = decodeURI(pointer.slice(1)).replaceAll('%23', '#').split('/').slice(1);
  return formatPath(
    segments.map((segment) => {
      const text = segment.replaceAll('~1', '/').replaceAll('~0', '~');
      return /^\d+$/.test(text) ? Number(text) : text;
    }),
  );
}
