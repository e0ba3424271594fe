const PLACEHOLDERS = ['body', 'timestamp', 'id'] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];

/** A piece of an hmac template: literal text, or a placeholder. */
export type TemplatePart =
  | { readonly literal: string; readonly placeholder?: undefined }
  | { readonly placeholder: Placeholder; readonly literal?: undefined };

/** Splits `{timestamp}.{body}` into its parts; braces that are no known placeholder stay literal. */
export function parseTemplate(template: string): readonly TemplatePart[] {
  const parts: TemplatePart[] = [];
  for (const piece of template.split(/(\{[a-z]+\})/)) {
    const placeholder = PLACEHOLDERS.find((name) => piece === `{${name}}`);
    if (placeholder !== undefined) parts.push({ placeholder });
    else if (piece !== '') parts.push({ literal: piece });
  }
  return parts;
}

/**
 * What makes a template unfit, if anything does. Beyond typing errors that is ambiguity: under `{id}{body}` one
 * signature fits every way of cutting the text in two, so that bytes of the body could be passed off as the id.
 */
export function templateProblem(parts: readonly TemplatePart[]): string | undefined {
  const allowed = PLACEHOLDERS.map((name) => `{${name}}`).join(', ');
  if (parts.some((part) => part.literal !== undefined && /[{}]/.test(part.literal))) {
    return `has a brace that belongs to no placeholder; allowed are ${allowed}`;
  }
  for (const name of PLACEHOLDERS) {
    if (parts.filter((part) => part.placeholder === name).length > 1) return `must not repeat {${name}}`;
  }
  if (!parts.some((part) => part.placeholder === 'body')) return 'must contain {body}';
  if (parts.some((part) => part.literal !== undefined && !/^[\x20-\x7e]*$/.test(part.literal))) {
    return 'must be printable ASCII around its placeholders';
  }
  const at = parts.findIndex((part) => part.placeholder === 'id');
  const neighbours = [parts[at - 1], parts[at + 1]];
  if (at >= 0 && neighbours.some((part) => part?.placeholder !== undefined)) {
    return 'must have text between {id} and its neighbours, e.g. `{id}.{body}`: otherwise it is ambiguous';
  }
  return undefined;
}

/** The literal texts next to `{id}`: an id that contains one would make the signed text ambiguous. */
export function idSeparators(parts: readonly TemplatePart[]): readonly string[] {
  const at = parts.findIndex((part) => part.placeholder === 'id');
  if (at < 0) return [];
  return [parts[at - 1]?.literal, parts[at + 1]?.literal].filter((text) => text !== undefined);
}
