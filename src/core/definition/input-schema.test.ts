import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../json.ts';
import { formatPath } from './findings.ts';
import { checkInput } from './input-schema.ts';
import { inputSchemaFindings } from './input-schema-findings.ts';

const address = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const order = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Order',
  type: 'object',
  properties: {
    id: { type: 'integer', minimum: 1 },
    email: { type: 'string', format: 'email' },
    lines: { type: 'array', minItems: 1, items: { enum: ['a', 'b'] } },
    to: { $ref: '#/$defs/address', description: 'where it goes' },
    from: { $ref: '#/$defs/address' },
  },
  required: ['id'],
  additionalProperties: false,
  $defs: { address },
};

describe('inputSchemaFindings', () => {
  test.each<[unknown]>([
    [true],
    [{}],
    [order],
    [
      {
        type: ['string', 'null'],
        minLength: 1,
        examples: ['x', { $ref: 'not a ref' }],
        'x-ui': { order: 1 },
      },
    ],
    // Spelled as JSON, since an object with `then` looks like a promise.
    [JSON.parse('{"if":{"required":["a"]},"then":{"required":["b"]},"else":false}')],
    [{ properties: { pattern: { type: 'string' }, $id: {}, constructor: {} } }],
  ])('has nothing against %j', (schema) => {
    expect(inputSchemaFindings(schema)).toEqual([]);
  });

  test.each<[unknown, string, string, RegExp]>([
    ['x', '', 'invalid_value', /object, true or false/],
    [{ type: 'strng' }, 'type', 'invalid_value', /`string`/],
    [{ type: [] }, 'type', 'invalid_value', /list/],
    [{ requird: ['a'] }, 'requird', 'unknown_key', /required/],
    [{ required: 'a' }, 'required', 'invalid_value', /list of property names/],
    [{ required: ['a', 'a'] }, 'required', 'invalid_value', /each once/],
    [{ properties: { a: { minLength: -1 } } }, 'properties.a.minLength', 'invalid_value', /0 or more/],
    [{ properties: [] }, 'properties', 'invalid_value', /object of schemas/],
    [{ items: [{}] }, 'items', 'invalid_value', /JSON Schema/],
    [{ allOf: [] }, 'allOf', 'invalid_value', /list of schemas/],
    [{ allOf: [{}, 5] }, 'allOf[1]', 'invalid_value', /JSON Schema/],
    [{ enum: [] }, 'enum', 'invalid_value', /list of values/],
    [{ multipleOf: 0 }, 'multipleOf', 'invalid_value', /above 0/],
    [{ maximum: '5' }, 'maximum', 'invalid_value', /number/],
    [{ format: 'mail' }, 'format', 'invalid_value', /`email`/],
    [{ dependentRequired: { a: 'b' } }, 'dependentRequired', 'invalid_value', /lists of property names/],
    [{ $ref: '#/$defs/nope', $defs: { x: {} } }, '$ref', 'invalid_value', /`x`/],
    [{ $ref: 'https://example.com/schema' }, '$ref', 'invalid_value', /\$defs/],
    [{ $ref: '#/$defs/constructor' }, '$ref', 'invalid_value', /\$defs/],
    [{ pattern: '(a+)+$' }, 'pattern', 'not_supported', /matches/],
    [{ items: { uniqueItems: true } }, 'items.uniqueItems', 'not_supported', /`if`/],
    [{ definitions: {} }, 'definitions', 'not_supported', /\$defs/],
    [{ $defs: { a: { items: { $ref: '#/$defs/a' } } } }, '', 'not_supported', /recursive/],
  ])('of %j points at %s', (schema, path, code, text) => {
    const [finding, ...more] = inputSchemaFindings(schema);
    expect(more).toEqual([]);
    expect({ path: formatPath(finding?.path ?? []), code: finding?.code }).toEqual({ path, code });
    expect(`${finding?.message} ${finding?.fix}`).toMatch(text);
  });

  test('counts what references expand to, so that no small schema costs exponential time', () => {
    const level = (n: number) => ({ allOf: [{ $ref: `#/$defs/l${n}` }, { $ref: `#/$defs/l${n}` }] });
    const defs = Object.fromEntries(
      Array.from({ length: 30 }, (_, n) => [`l${n}`, n === 0 ? {} : level(n - 1)]),
    );
    const [finding] = inputSchemaFindings({ $ref: '#/$defs/l29', $defs: defs });
    expect(finding?.code).toBe('too_large');
  });
});

describe('checkInput', () => {
  test.each<[JsonValue]>([
    [{ id: 1 }],
    [{ id: 7, email: 'a@example.com', lines: ['a'], to: { city: 'Ulm' } }],
  ])('accepts %j', (input) => {
    expect(checkInput(order, input)).toEqual([]);
  });

  test.each<[JsonValue, readonly string[]]>([
    [{}, ['']],
    [{ id: 1.5 }, ['id']],
    [{ id: 0.5 }, ['id', 'id']],
    [{ id: 0, email: 'x', lines: ['c'] }, ['id', 'email', 'lines[0]']],
    [{ id: 1, to: {} }, ['to']],
    [{ id: 1, 'o ther': 1 }, ['["o ther"]']],
    [[], ['']],
    [null, ['']],
  ])('of %j names %j', (input, paths) => {
    const problems = checkInput(order, input);
    expect(problems.map(({ path }) => path)).toEqual(paths);
    expect(
      problems.every(({ code, message, fix }) => code === 'input_invalid' && message !== '' && fix !== ''),
    ).toBe(true);
  });

  test('takes any input and leaves the schema as it is', () => {
    const schema = structuredClone(order);
    const odd: JsonValue = { id: 1, '\uD800': '\uDFFF', 'a/b~c%#é': [] };
    expect(checkInput(Object.freeze(schema), odd).map(({ path }) => path)).toContain('["a/b~c%#é"]');
    expect(schema).toEqual(order);
    expect(checkInput(false, {})).toHaveLength(1);
    expect(checkInput(true, {})).toEqual([]);
  });

  test('refuses more work than a start may cost', () => {
    const schema = { items: { enum: Array.from({ length: 1000 }, (_, n) => n) } };
    const start = performance.now();
    expect(
      checkInput(
        schema,
        Array.from({ length: 100_000 }, () => 999),
      )[0]?.message,
    ).toMatch(/too many/);
    expect(
      checkInput(
        { items: { type: 'string' } },
        Array.from({ length: 300_000 }, () => 1),
      ),
    ).toHaveLength(1);
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});
