import { isDeeperThan, MAX_JSON_DEPTH } from '../../core/deliveries/body.ts';
import type { JsonValue } from '../../core/json.ts';
import { terminalError } from '../../core/step-error.ts';

const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * What a program's stdout is as an output: its value when it is JSON, else the text, without the newline at its end; null
 * when there is none.
 *
 * @throws StepError `invalid_output` for what is no text, or JSON that is nested too deeply
 */
export function parseContainerOutput(bytes: Buffer): JsonValue {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw terminalError(
      'invalid_output',
      'What the container wrote to stdout is not UTF-8 text; write other data in base64',
      cause,
    );
  }
  const value = parse(text);
  if (value === undefined) return text.replace(/\r?\n$/, '') || null;
  if (isDeeperThan(bytes, MAX_JSON_DEPTH)) {
    throw terminalError('invalid_output', `The output is nested more than ${MAX_JSON_DEPTH} levels deep.`);
  }
  return value;
}

/** Undefined for what is no JSON. */
function parse(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}
