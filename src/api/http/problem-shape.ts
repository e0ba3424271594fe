import { z } from '../../core/zod.ts';

/** One of several problems; also how warnings are told. */
export const problemItemShape = z.object({
  path: z.string().describe('Where, as a path into the document'),
  line: z.int().optional(),
  column: z.int().optional(),
  code: z.string().optional(),
  message: z.string(),
  fix: z.string().describe('What to write instead'),
});

/** RFC 9457. */
export const problemShape = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string().describe('Stable; docs/errors.md lists all'),
  requestId: z.string().describe('Finds the request in our log'),
  errors: z.array(problemItemShape).optional(),
});
