import { writeFileSync } from 'node:fs';
import { workflowJsonSchema } from '../src/core/definition/json-schema.ts';

/** Writes docs/workflow.schema.json; a test says when that is due. */
const target = new URL('../docs/workflow.schema.json', import.meta.url);
writeFileSync(target, `${JSON.stringify(workflowJsonSchema(), null, 2)}\n`);
