import type { RecordedError } from '../../core/executions/journal.ts';
import { EXECUTION_STATES, STEP_STATES } from '../../core/executions/status.ts';
import { z } from '../../core/zod.ts';

/** Shapes of answers that several operations share. They document, and tests hold answers against them. */

export const timeShape = z.iso.datetime().describe('RFC 3339, UTC, with milliseconds');
export const idShape = z.uuid();
export const jsonShape = z.unknown().describe('Any JSON');
export const executionStateShape = z.enum(EXECUTION_STATES);
export const stepStateShape = z.enum(STEP_STATES);

export const pageShape = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().describe('`cursor` of the next page; null when this is the last'),
  });

export const stepErrorShape = z.object({ code: z.string(), message: z.string() });
export const executionErrorShape = z.object({
  code: z.string(),
  message: z.string(),
  step: z.string().nullable().describe('The step that failed it'),
});

export const timeOf = (date: Date): string => date.toISOString();
export const timeOrNull = (date: Date | null): string | null => date?.toISOString() ?? null;

export const executionErrorOf = (error: RecordedError | null): z.infer<typeof executionErrorShape> | null =>
  error && { code: error.code, message: error.message, step: error.step ?? null };

export const stepErrorOf = (error: RecordedError | null): z.infer<typeof stepErrorShape> | null =>
  error && { code: error.code, message: error.message };

/** One item more than the page was asked for tells that there is another page. */
export function pageOf<T>(
  rows: readonly T[],
  limit: number,
): { readonly items: readonly T[]; readonly last: T | undefined } {
  const items = rows.slice(0, limit);
  return { items, last: rows.length > limit ? items.at(-1) : undefined };
}
