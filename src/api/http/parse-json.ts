import { isDeeperThan, MAX_JSON_DEPTH } from '../../core/deliveries/body.ts';
import { appError, coerceError } from '../../core/errors/app-error.ts';
import type { JsonValue } from '../../core/json.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Decodes a text body; a byte order mark is dropped. Undefined when the bytes are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Parses the JSON body of a request.
 *
 * @throws AppError `malformed_json` with the position, or `json_too_deep`
 */
export function parseJson(bytes: Buffer): JsonValue {
  if (isDeeperThan(bytes, MAX_JSON_DEPTH)) throw appError('json_too_deep', { args: [MAX_JSON_DEPTH] });
  const text = decodeUtf8(bytes);
  if (text === undefined) throw appError('malformed_json', { args: ['it is not UTF-8'] });
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw appError('malformed_json', { args: [withoutExcerpt(coerceError(cause).message)], cause });
  }
}

/** V8 quotes the text around the mistake, which may hold secrets; the position is enough. */
function withoutExcerpt(message: string): string {
  const position = /at position \d+(?: \(line \d+ column \d+\))?/.exec(message)?.[0];
  return position === undefined ? 'it ends too early or is no JSON at all' : `something is wrong ${position}`;
}
