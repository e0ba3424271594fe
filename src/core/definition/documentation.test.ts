import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FINDING_CODES } from './findings.ts';
import { workflowJsonSchema } from './json-schema.ts';
import {
  KINDS_NOT_YET,
  STEP_KEYS_NOT_YET,
  TRIGGERS_NOT_YET,
  WEBHOOK_KEYS_NOT_YET,
  WORKFLOW_KEYS_NOT_YET,
} from './not-yet.ts';
import { KNOWN_SCHEMES_NOT_YET, VERIFY_SCHEMES } from '../triggers/verify/schemas.ts';
import { parseWorkflow } from './parse.ts';

const page = readFileSync(new URL('../../../docs/workflow.md', import.meta.url), 'utf8');

/** A whole document, or the part of one that the fence says. */
const examples = [...page.matchAll(/^```yaml( \w+)?\n([\s\S]*?)^```$/gm)].map(([, part = '', text = '']) => {
  const indented = text.replaceAll(/^(?=.)/gm, '  ');
  if (part === ' steps') return `name: w\ntriggers: { t: { manual: {} } }\nsteps:\n${indented}`;
  if (part === ' triggers')
    return `name: w\ntriggers:\n${indented}\nsteps: [{ id: a, wait: 1s }]\noutput: trigger.body`;
  return text;
});

describe('docs/workflow.md', () => {
  test('has examples', () => {
    expect(examples.length).toBeGreaterThanOrEqual(7);
  });

  test.each(examples)('has an example that is a valid workflow: %s', (text) => {
    expect(parseWorkflow(text)).toMatchObject({ ok: true, warnings: [] });
  });

  test.each([
    ...propertyNames(workflowJsonSchema()),
    ...VERIFY_SCHEMES,
    ...KNOWN_SCHEMES_NOT_YET,
    ...FINDING_CODES,
    ...[
      KINDS_NOT_YET,
      STEP_KEYS_NOT_YET,
      TRIGGERS_NOT_YET,
      WEBHOOK_KEYS_NOT_YET,
      WORKFLOW_KEYS_NOT_YET,
    ].flatMap(Object.keys),
  ])('mentions `%s`', (word) => {
    expect(page).toMatch(new RegExp(`\`[^\`\n]*\\b${word}\\b[^\`\n]*\``));
  });
});

/** Every key that the language knows. */
function propertyNames(schema: unknown): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const own = 'properties' in schema ? Object.keys(schema.properties as object) : [];
  return [...new Set([...own, ...Object.values(schema).flatMap(propertyNames)])];
}
