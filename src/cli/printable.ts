// Controls move the cursor or start escape sequences; bidirectional controls and line separators reorder what is read
// (Unicode TR 36, section 3). Names, errors and outputs come from payloads, so a terminal never gets these raw.
const UNSAFE = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** `text` with every control that a terminal would act on, but for newline and tab, as `\uXXXX`. */
export function printable(text: string): string {
  return text.replaceAll(UNSAFE, escape);
}

/** JSON that is the same value for a program and harmless in a terminal. */
export function printableJson(value: unknown, indent?: number): string {
  // Within JSON the controls of C0 are escaped already, and what is left can only stand in strings.
  return (JSON.stringify(value, undefined, indent) ?? 'null').replaceAll(UNSAFE, escape);
}
