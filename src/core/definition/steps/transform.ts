import { z } from '../../zod.ts';
import { templateField } from '../fields.ts';
import { says } from '../zod-findings.ts';
import { defineKind } from './kind.ts';

/** A CEL expression as a string, or JSON built of templates: `transform`, `output` and `forEach` are written so. */
export const valueField = z.union(
  [z.string().min(1), z.record(z.string(), templateField), z.array(templateField)],
  {
    error: says(
      'must be a CEL expression, or an object or list whose strings may hold `${{ }}`',
      'write an expression such as `steps.fetch.output.body`; quote a constant: `"42"`',
    ),
  },
);

export const transform = defineKind({
  kind: 'transform',
  description: 'Computes a value from what is there; its output is that value',
  schema: valueField,
  keys: {},
  sites: ({ transform: body }) => [
    { path: ['transform'], type: typeof body === 'string' ? 'expression' : 'template', value: body },
  ],
  credentials: () => [],
  check: () => [],
  compile: ({ transform: body }, values) => ({
    value: typeof body === 'string' ? values.expression(body) : values.template(body),
  }),
});
