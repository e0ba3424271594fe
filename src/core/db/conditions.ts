/** Collects the optional conditions of a list query with their values; the texts are constants of ours. */
export interface Conditions {
  /** Adds `sql`, with `?` standing for `value`; nothing when the value is undefined. */
  add(sql: string, value: unknown): void;
  /** A placeholder for one more value. */
  value(value: unknown): string;
  /** `where …` and the values so far. */
  readonly where: () => string;
  readonly values: readonly unknown[];
}

/** @param always conditions without values */
export function createConditions(...always: readonly string[]): Conditions {
  const texts = [...always];
  const values: unknown[] = [];
  const place = (value: unknown): string => {
    values.push(value);
    return `$${values.length}`;
  };
  return {
    add(sql, value) {
      if (value !== undefined) texts.push(sql.replace('?', () => place(value)));
    },
    value: place,
    where: () => (texts.length === 0 ? '' : `where ${texts.join(' and ')}`),
    values,
  };
}
