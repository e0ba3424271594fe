import { isRecord } from '../json.ts';
import { preview, type Finding, type FindingCode, type Path } from './findings.ts';
import { listOf, nearest } from './suggest.ts';

/**
 * `inputSchema`: the part of JSON Schema 2020-12 that is checked in bounded time. Regular expressions of authors would be
 * JavaScript's (exponential), recursion and comparing all items with each other have no useful bound: all three are refused.
 */

/** Subschemas, enum values and required names, with every `$ref` counted as what it points to. */
const MAX_SCHEMA_SIZE = 2000;

type Shape =
  | 'schema'
  | 'schemas'
  | 'schemaMap'
  | 'type'
  | 'ref'
  | 'format'
  | 'names'
  | 'namesMap'
  | 'values'
  | 'count'
  | 'number'
  | 'any';
const KEYWORDS: Readonly<Record<Shape, readonly string[]>> = {
  schema: ['not', 'if', 'then', 'else', 'additionalProperties', 'propertyNames', 'items', 'contains'],
  schemas: ['allOf', 'anyOf', 'oneOf', 'prefixItems'],
  schemaMap: ['$defs', 'properties', 'dependentSchemas'],
  ref: ['$ref'],
  type: ['type'],
  format: ['format'],
  names: ['required'],
  namesMap: ['dependentRequired'],
  values: ['enum'],
  any: ['const'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  count: [
    'minProperties',
    'maxProperties',
    'minItems',
    'maxItems',
    'minContains',
    'maxContains',
    'minLength',
    'maxLength',
  ],
};
/** What can refuse an input, with the shape of its value. */
const ASSERTIONS: ReadonlyMap<string, Shape> = new Map(
  Object.entries(KEYWORDS).flatMap(([shape, keywords]) =>
    // The keys of KEYWORDS are shapes.
    keywords.map((keyword) => [keyword, shape as Shape] as const),
  ),
);
/** They describe and never refuse. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  '$schema',
  '$comment',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
]);
const NOT_YET: Readonly<Record<string, string>> = {
  pattern: 'use `format`, or check it in the `if` of a step with `matches()`',
  patternProperties: 'use `properties` and `additionalProperties`',
  uniqueItems: 'check it in the `if` of a step',
  unevaluatedProperties: 'use `additionalProperties: false`',
  unevaluatedItems: 'use `items: false` after `prefixItems`',
  $id: 'remove it; `$ref` reads `#/$defs/<name>`',
  $anchor: 'use `$ref: "#/$defs/<name>"`',
  $dynamicRef: 'use `$ref: "#/$defs/<name>"`',
  $dynamicAnchor: 'use `$ref: "#/$defs/<name>"`',
  definitions: 'rename it to `$defs`',
  dependencies: 'use `dependentRequired` or `dependentSchemas`',
  additionalItems: 'use `prefixItems` with `items`',
};
const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
const FORMATS = [
  'date',
  'time',
  'date-time',
  'duration',
  'email',
  'hostname',
  'ipv4',
  'ipv6',
  'uuid',
  'uri',
] as const;
const REF = /^#\/\$defs\/([A-Za-z0-9._-]+)$/;

const finding = (path: Path, message: string, fix: string, code: FindingCode = 'invalid_value'): Finding => ({
  path,
  code,
  message,
  fix,
});

/** What is wrong with the schema itself; paths are below it. */
export function inputSchemaFindings(root: unknown): readonly Finding[] {
  const defs = isRecord(root) && isRecord(root.$defs) ? root.$defs : {};
  const findings = schemaFindings(root, [], defs);
  if (findings.length > 0) return findings;
  const size = expandedSize(root);
  if (size === 'recursive') {
    return [
      finding(
        [],
        'recursive schemas are not supported by this release',
        'write the levels out',
        'not_supported',
      ),
    ];
  }
  if (size <= MAX_SCHEMA_SIZE) return [];
  return [
    finding(
      [],
      `the schema has more than ${MAX_SCHEMA_SIZE} parts, each $ref counted as what it points to`,
      'make it smaller',
      'too_large',
    ),
  ];
}

function schemaFindings(
  schema: unknown,
  path: Path,
  defs: Readonly<Record<string, unknown>>,
): readonly Finding[] {
  if (typeof schema === 'boolean') return [];
  if (!isRecord(schema))
    return [
      finding(
        path,
        `a JSON Schema must be an object, true or false, got ${preview(schema)}`,
        'write `{ type: string }`',
      ),
    ];
  return Object.entries(schema).flatMap(([keyword, value]) => {
    const below = [...path, keyword];
    const shape = ASSERTIONS.get(keyword);
    if (shape !== undefined) return keywordFindings(keyword, shape, value, below, defs);
    if (ANNOTATIONS.has(keyword) || keyword.startsWith('x-')) return [];
    return [unknownKeyword(keyword, below)];
  });
}

function unknownKeyword(keyword: string, path: Path): Finding {
  if (Object.hasOwn(NOT_YET, keyword)) {
    const message = `\`${keyword}\` in a JSON Schema is not supported by this release`;
    return { ...finding(path, message, NOT_YET[keyword] ?? '', 'not_supported'), at: 'key' };
  }
  const near = nearest(keyword, [...ASSERTIONS.keys(), ...ANNOTATIONS]);
  const fix = near === undefined ? 'remove it, or prefix it with `x-`' : `did you mean \`${near}\`?`;
  return { ...finding(path, `\`${keyword}\` is no keyword of JSON Schema`, fix, 'unknown_key'), at: 'key' };
}

function keywordFindings(
  keyword: string,
  shape: Shape,
  value: unknown,
  path: Path,
  defs: Readonly<Record<string, unknown>>,
): readonly Finding[] {
  const wrong = (what: string, fix: string): readonly Finding[] => [
    finding(path, `\`${keyword}\` must be ${what}, got ${preview(value)}`, fix),
  ];
  switch (shape) {
    case 'schema':
      return schemaFindings(value, path, defs);
    case 'schemas':
      if (!Array.isArray(value) || value.length === 0)
        return wrong('a list of schemas', `write \`${keyword}: [{ … }]\``);
      return value.flatMap((item, index) => schemaFindings(item, [...path, index], defs));
    case 'schemaMap':
      if (!isRecord(value))
        return wrong('an object of schemas', `write \`${keyword}: { name: { type: string } }\``);
      return Object.entries(value).flatMap(([name, item]) => schemaFindings(item, [...path, name], defs));
    case 'type': {
      const types = Array.isArray(value) ? value : [value];
      const isKnown = types.length > 0 && types.every((type) => TYPES.some((known) => known === type));
      return isKnown ? [] : wrong(`${listOf(TYPES)}, or a list of them`, 'write `type: string`');
    }
    case 'format':
      return FORMATS.some((known) => known === value)
        ? []
        : wrong(listOf(FORMATS), 'write one of these, or remove it');
    case 'ref': {
      const name = typeof value === 'string' ? REF.exec(value)?.[1] : undefined;
      const isFound = name !== undefined && Object.hasOwn(defs, name);
      return isFound
        ? []
        : wrong(
            '`#/$defs/<name>` with a name that is in `$defs`',
            `there ${listOf(Object.keys(defs), 'and')} can be found`,
          );
    }
    case 'names':
      return isNames(value) ? [] : wrong('a list of property names, each once', `write \`${keyword}: [id]\``);
    case 'namesMap':
      return isRecord(value) && Object.values(value).every(isNames)
        ? []
        : wrong('an object of lists of property names', `write \`${keyword}: { a: [b] }\``);
    case 'values':
      return Array.isArray(value) && value.length > 0
        ? []
        : wrong('a list of values', `write \`${keyword}: [a, b]\``);
    case 'count':
      return Number.isSafeInteger(value) && Number(value) >= 0
        ? []
        : wrong('a whole number, 0 or more', `write \`${keyword}: 1\``);
    case 'number':
      return typeof value === 'number' && (keyword !== 'multipleOf' || value > 0)
        ? []
        : wrong(keyword === 'multipleOf' ? 'a number above 0' : 'a number', `write \`${keyword}: 1\``);
    case 'any':
      return [];
    default:
      return shape satisfies never;
  }
}

const isNames = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.every((name) => typeof name === 'string') &&
  new Set(value).size === value.length;

/** `recursive`: some definition contains itself. */
export type SchemaSize = number | 'recursive';

/** Subschemas, names and enum values, each `$ref` counted as what it points to. Of schemas without findings. */
export function expandedSize(root: unknown): SchemaSize {
  const defs = isRecord(root) && isRecord(root.$defs) ? root.$defs : {};
  const ofDef = new Map<string, SchemaSize>();
  const sizeOf = (schema: unknown): SchemaSize =>
    isRecord(schema) ? sum([1, ...Object.entries(schema).map(sizeOfKeyword)]) : 1;
  const sizeOfKeyword = ([keyword, value]: readonly [string, unknown]): SchemaSize => {
    const shape = ASSERTIONS.get(keyword);
    if (shape === 'ref') return sizeOfDef(REF.exec(String(value))?.[1] ?? '');
    if (shape === 'names' || shape === 'values') return (value as readonly unknown[]).length;
    // Definitions count where they are used.
    return keyword === '$defs' ? 0 : sum(subschemasOf(keyword, value).map(sizeOf));
  };
  const sizeOfDef = (name: string): SchemaSize => {
    const known = ofDef.get(name);
    if (known !== undefined) return known;
    // Met again while it is being measured, it contains itself.
    ofDef.set(name, 'recursive');
    const size = sizeOf(defs[name]);
    ofDef.set(name, size);
    return size;
  };
  const isRecursive = Object.keys(defs).map(sizeOfDef).includes('recursive');
  return isRecursive ? 'recursive' : sizeOf(root);
}

const sum = (sizes: readonly SchemaSize[]): SchemaSize =>
  sizes.reduce((a, b) => (a === 'recursive' || b === 'recursive' ? 'recursive' : a + b), 0);

function subschemasOf(keyword: string, value: unknown): readonly unknown[] {
  const shape = ASSERTIONS.get(keyword);
  if (shape === 'schema') return [value];
  return shape === 'schemas' || shape === 'schemaMap' ? Object.values(value as object) : [];
}

/** A copy of only what can refuse an input; the copy may be written to. */
export function assertionsOf(schema: unknown): unknown {
  if (!isRecord(schema)) return schema;
  const kept = Object.entries(schema).flatMap(([keyword, value]) => {
    const shape = ASSERTIONS.get(keyword);
    return shape === undefined ? [] : [[keyword, assertionsOfValue(shape, value)] as const];
  });
  return Object.fromEntries(kept);
}

function assertionsOfValue(shape: Shape, value: unknown): unknown {
  if (shape === 'schema') return assertionsOf(value);
  if (shape === 'schemas') return (value as readonly unknown[]).map(assertionsOf);
  if (shape !== 'schemaMap') return value;
  return Object.fromEntries(
    Object.entries(value as object).map(([name, item]) => [name, assertionsOf(item)]),
  );
}
