import { readFileSync } from 'node:fs';
import { Validator } from '@cfworker/json-schema';
import { describe, expect, test } from 'vitest';
import { workflowJsonSchema } from './json-schema.ts';
import { BAD_SHAPES, GOOD_DOCUMENTS } from './documents.fixture.ts';
import { readYaml } from './yaml-source.ts';

test('docs/workflow.schema.json is what scripts/write-workflow-schema.ts writes', () => {
  const committed = readFileSync(new URL('../../../docs/workflow.schema.json', import.meta.url), 'utf8');
  expect(JSON.parse(committed)).toEqual(workflowJsonSchema());
});

describe('the JSON Schema', () => {
  // A copy: the validator writes into what it is given.
  const validator = new Validator(structuredClone(workflowJsonSchema()), '2020-12');

  test.each(GOOD_DOCUMENTS)('accepts %s', (_, text) => {
    expect(validator.validate(readYaml(text).source?.value)).toEqual({ valid: true, errors: [] });
  });

  test.each(BAD_SHAPES)('refuses %s', (_, text) => {
    expect(validator.validate(readYaml(text).source?.value).valid).toBe(false);
  });
});
