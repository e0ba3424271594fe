import { isUuid } from '../../core/db/ids.ts';
import { parseDuration } from '../../core/definition/duration.ts';
import { isKebabName } from '../../core/definition/names.ts';
import { z } from '../../core/zod.ts';

/** Query parameters that several operations share. All are text at first. */

export const MAX_PAGE = 200;
const DEFAULT_PAGE = 50;

const isWhole = (text: string, min: number, max: number): boolean =>
  /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max;

export const wholeNumberParam = (min: number, max: number) =>
  z
    .string()
    .refine((text) => isWhole(text, min, max), { error: `must be a whole number from ${min} to ${max}` })
    .transform(Number)
    .meta({ type: 'integer', minimum: min, maximum: max });

export const limitParam = wholeNumberParam(1, MAX_PAGE)
  .optional()
  .transform((limit) => limit ?? DEFAULT_PAGE)
  .describe(`How many items a page has at most; ${DEFAULT_PAGE} without it`);

export const cursorParam = z
  .string()
  .max(4096)
  .optional()
  .describe('`nextCursor` of the page before; the filters have to stay the same');

export const timeParam = (description: string) =>
  z.iso
    .datetime({ offset: true, error: 'must be an RFC 3339 time, such as 2026-01-31T12:00:00Z' })
    .transform((text) => new Date(text))
    .optional()
    .describe(description);

export const booleanParam = (description: string) =>
  z
    .enum(['true', 'false'], { error: 'must be true or false' })
    .optional()
    .transform((text) => text === 'true')
    .describe(description);

/** Values that cannot be a name match nothing; they never reach a query. */
export const nameParam = (description: string) =>
  z
    .string()
    .refine(isKebabName, { error: 'must be lower-case letters, digits and single hyphens' })
    .optional()
    .describe(description);

export const MAX_WAIT_MS = 60_000;

export const waitParam = z
  .string()
  .transform((text, context) => {
    const ms = parseDuration(text);
    if (ms !== undefined && ms <= MAX_WAIT_MS) return ms;
    context.addIssue({ code: 'custom', message: 'must be a duration of at most 60s, such as 500ms or 10s' });
    return z.NEVER;
  })
  .optional()
  .describe('How long to wait for the execution to end, at most 60s');

/** Whether a path parameter can be an id at all; if not, nothing has that id. */
export const isId = (text: string): boolean => isUuid(text);

/** A path parameter as it may be repeated in a message. */
export const shown = (text: string): string => (text.length <= 100 ? text : `${text.slice(0, 97)}…`);
