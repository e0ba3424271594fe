import { writeFileSync } from 'node:fs';
import { describeApi } from '../src/api/routes/operations.ts';

/** Writes docs/openapi.json; a test says when that is due. */
const target = new URL('../docs/openapi.json', import.meta.url);
writeFileSync(target, `${JSON.stringify(describeApi(), null, 2)}\n`);
