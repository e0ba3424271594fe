/** How often a header came, and its value when it came once. */
export type HeaderRead =
  { readonly count: 0 } | { readonly count: 1; readonly value: string } | { readonly count: 2 /* or more */ };

const ABSENT: HeaderRead = { count: 0 };
const REPEATED: HeaderRead = { count: 2 };

/**
 * Reads one header from Node's raw list. `IncomingMessage.headers` joins repeated headers with a comma, and a
 * joined signature header would look like a list (SECURITY W05), so the raw list is what counts.
 *
 * @param name in lower case
 */
export function readHeader(rawHeaders: readonly string[], name: string): HeaderRead {
  let found: string | undefined;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const candidate = rawHeaders[i]!; // i + 1 is inside the list
    if (candidate.length !== name.length || candidate.toLowerCase() !== name) continue;
    if (found !== undefined) return REPEATED;
    found = rawHeaders[i + 1]!; // as above
  }
  return found === undefined ? ABSENT : { count: 1, value: found };
}

export type RequiredHeader =
  { readonly ok: true; readonly value: string } | { readonly ok: false; readonly reason: string };

/** A header that has to be there exactly once. */
export function requireHeader(rawHeaders: readonly string[], name: string): RequiredHeader {
  const read = readHeader(rawHeaders, name);
  if (read.count === 1) return { ok: true, value: read.value };
  return { ok: false, reason: read.count === 0 ? `no ${name} header` : `more than one ${name} header` };
}
