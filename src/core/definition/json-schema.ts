import { z } from '../zod.ts';
import { workflowSchema } from './document.ts';

/** JSON Schema (2020-12) of the workflow document, for editors: made from the schema that validates. */
export function workflowJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(workflowSchema, {
    io: 'input',
    target: 'draft-2020-12',
    reused: 'ref',
  });
  return {
    $schema,
    title: 'Millrace workflow',
    description: 'A workflow.yaml of Millrace; docs/workflow.md explains it',
    ...schema,
  };
}
