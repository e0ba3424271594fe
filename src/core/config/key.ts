import { z } from '../zod.ts';

/** One configuration key: an environment variable, its schema, and what docs/configuration.md says about it. */
export interface ConfigKey<T> {
  readonly schema: z.ZodType<T>;
  readonly description: string;
  /** Whether `<NAME>_FILE` is read too, and the value never shown. */
  readonly secret: boolean;
  /** As the documentation shows it; undefined when there is none. */
  readonly defaultText: string | undefined;
}
export type ConfigKeys = Readonly<Record<string, ConfigKey<unknown>>>;
export type ConfigOf<K extends ConfigKeys> = {
  readonly [N in keyof K]: K[N] extends ConfigKey<infer T> ? T : never;
};

interface KeyOptions {
  readonly secret?: boolean;
  readonly defaultText?: string;
}

const key = <T>(schema: z.ZodType<T>, description: string, options: KeyOptions = {}): ConfigKey<T> => ({
  schema,
  description,
  secret: options.secret ?? false,
  defaultText: options.defaultText,
});

/** A required or optional text; `schema` says what is allowed. */
export const textKey = <T extends string | undefined>(
  schema: z.ZodType<T>,
  description: string,
  options: KeyOptions = {},
): ConfigKey<T> => key(schema, description, options);

/** A whole number within a range. */
export function integerKey(
  description: string,
  range: { readonly default: number; readonly min: number; readonly max: number },
): ConfigKey<number> {
  const allowed = `must be a whole number from ${range.min} to ${range.max}`;
  const schema = z
    .string()
    .default(String(range.default))
    .refine((text) => /^-?\d{1,15}$/.test(text) && Number(text) >= range.min && Number(text) <= range.max, {
      error: (issue) => `${allowed}, got ${quote(issue.input)}`,
    })
    .transform(Number);
  return key(schema, description, { defaultText: String(range.default) });
}

/** A number from 0 to 1. */
export function fractionKey(description: string, options: { readonly default: number }): ConfigKey<number> {
  const schema = z
    .string()
    .default(String(options.default))
    .refine((text) => /^(0|1|0?\.\d+|1\.0+|0\.\d+)$/.test(text), {
      error: (issue) => `must be a number from 0 to 1, got ${quote(issue.input)}`,
    })
    .transform(Number);
  return key(schema, description, { defaultText: String(options.default) });
}

/** `true` or `false`. */
export function booleanKey(description: string, options: { readonly default: boolean }): ConfigKey<boolean> {
  const schema = z
    .string()
    .default(String(options.default))
    .refine((text) => text === 'true' || text === 'false', {
      error: (issue) => `must be true or false, got ${quote(issue.input)}`,
    })
    .transform((text) => text === 'true');
  return key(schema, description, { defaultText: String(options.default) });
}

/** One of a closed list. */
export function choiceKey<const V extends readonly [string, ...string[]]>(
  description: string,
  values: V,
  fallback: V[number],
): ConfigKey<V[number]> {
  const schema = z.enum(values, {
    error: (issue) => `must be one of ${values.join(', ')}, got ${quote(issue.input)}`,
  });
  return key(schema.default(fallback), description, { defaultText: fallback });
}

/** A value of another type, made from the text by `parse`, whose thrown message is shown. */
export function parsedKey<T>(
  description: string,
  parse: (text: string) => T,
  options: KeyOptions & { readonly default?: string; readonly optional?: boolean } = {},
): ConfigKey<T> {
  const schema = z
    .string()
    .optional()
    .transform((text, context) => {
      const value = text ?? options.default;
      if (value === undefined) {
        if (options.optional) return undefined as T;
        context.addIssue({ code: 'custom', message: 'is required' });
        return z.NEVER;
      }
      try {
        return parse(value);
      } catch (error) {
        context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
        return z.NEVER;
      }
    });
  return key(schema as z.ZodType<T>, description, {
    ...options,
    defaultText: options.defaultText ?? options.default,
  });
}

function quote(input: unknown): string {
  return JSON.stringify(input);
}
