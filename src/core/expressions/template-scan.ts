/** A piece of a string of a template: text, or what stands in one `${{ }}`. */
export type Piece =
  | { readonly type: 'text'; readonly text: string }
  /** `offset` is where `source` begins in the string. */
  | { readonly type: 'expression'; readonly source: string; readonly offset: number };

export type Scanned =
  | { readonly ok: true; readonly pieces: readonly Piece[] }
  /** `offset` is that of the `${{` that is never closed. */
  | { readonly ok: false; readonly offset: number };

export const OPEN = '${{';
const CLOSE = '}}';

/**
 * Splits a string at its `${{ }}`. `$${{` is a literal `${{`. The closing braces are found with CEL's eyes: those in
 * string literals, comments and object literals do not close.
 */
export function scanTemplate(text: string): Scanned {
  const pieces: Piece[] = [];
  let literal = '';
  let at = 0;
  for (let open = text.indexOf(OPEN); open >= 0; open = text.indexOf(OPEN, at)) {
    if (open > at && text[open - 1] === '$') {
      literal += text.slice(at, open - 1) + OPEN;
      at = open + OPEN.length;
      continue;
    }
    literal += text.slice(at, open);
    const start = open + OPEN.length;
    const end = findClose(text, start);
    if (end === undefined) return { ok: false, offset: open };
    if (literal !== '') pieces.push({ type: 'text', text: literal });
    literal = '';
    pieces.push({ type: 'expression', source: text.slice(start, end), offset: start });
    at = end + CLOSE.length;
  }
  literal += text.slice(at);
  if (literal !== '' || pieces.length === 0) pieces.push({ type: 'text', text: literal });
  return { ok: true, pieces };
}

/** Place of the `}}` that ends the expression from `start`, or undefined. */
function findClose(text: string, start: number): number | undefined {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const char = text[at];
    if (char === '"' || char === "'") {
      at = skipString(text, at);
    } else if (char === '/' && text[at + 1] === '/') {
      at = skipComment(text, at);
    } else if (char === '{') {
      depth += 1;
      at += 1;
    } else if (char === '}') {
      if (depth === 0 && text[at + 1] === '}') return at;
      depth = Math.max(0, depth - 1);
      at += 1;
    } else {
      at += 1;
    }
  }
  return undefined;
}

/** The place after the string literal whose quote is at `at`; the end of the text when it is never closed. */
function skipString(text: string, at: number): number {
  // at < text.length
  const quote = text[at]!;
  const delimiter = text.startsWith(quote.repeat(3), at) ? quote.repeat(3) : quote;
  let next = at + delimiter.length;
  while (next < text.length) {
    if (text.startsWith(delimiter, next)) return next + delimiter.length;
    // No string but a tripled one goes over its line: the parser will say so.
    if (delimiter.length === 1 && (text[next] === '\n' || text[next] === '\r')) return next;
    // As the parser does, in raw strings too.
    next += text[next] === '\\' ? 2 : 1;
  }
  return next;
}

/** A comment ends with its line, or with the expression, so that `${{ a // why }}` closes. */
function skipComment(text: string, at: number): number {
  const line = text.indexOf('\n', at);
  const close = text.indexOf(CLOSE, at);
  const end = line < 0 ? text.length : line;
  return close >= 0 && close < end ? close : end;
}
