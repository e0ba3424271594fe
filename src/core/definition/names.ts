/** Names of the document. Their patterns are part of its JSON Schema. */

export const MAX_NAME_LENGTH = 63;

/** Workflows and credentials: kebab-case, fit for URLs and for Kubernetes. */
export const KEBAB_NAME_PATTERN = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/**
 * Steps and triggers: also `_` and upper case, so that an id may be written as `steps.my_step` or `steps.myStep`;
 * one with a dash is `steps["my-step"]`. No dots: an `Idempotency-Key` is `<executionId>.<stepId>.<item>`.
 */
export const IDENTIFIER_PATTERN = /^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*$/;

export const isKebabName = (text: string): boolean =>
  text.length <= MAX_NAME_LENGTH && KEBAB_NAME_PATTERN.test(text);

export const isIdentifier = (text: string): boolean =>
  text.length <= MAX_NAME_LENGTH && IDENTIFIER_PATTERN.test(text);

/** How an expression reads the step: `steps.score`, `steps["my-step"]`. */
export const stepReference = (id: string): string =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(id) ? `steps.${id}` : `steps["${id}"]`;
