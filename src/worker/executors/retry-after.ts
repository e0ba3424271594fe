/**
 * The delay that a `Retry-After` header asks for (RFC 9110, section 10.2.3): seconds or an HTTP date.
 *
 * @param nowMs what the date is compared with
 * @returns milliseconds, or undefined when there is none that can be read
 */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/[a-z]/i.test(text)) return undefined; // Date.parse takes far more than HTTP dates
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
