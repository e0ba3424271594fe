import { isMap, isScalar, isSeq, Scalar, type Pair, type ParsedNode, type YAMLMap } from 'yaml';
import type { Finding } from './findings.ts';

export type Place = Pick<Finding, 'path' | 'at' | 'offset'>;
type ParsedPair = Pair<ParsedNode, ParsedNode | null>;

/**
 * Gives the function that finds the offset in `text` of a value, of its key, or of a character within a string. Of what is
 * not there: of the nearest value that contains it.
 */
export function locator(root: ParsedNode | null, text: string): (place: Place) => number {
  const keysOf = keyIndex();
  return ({ path, at, offset }) => {
    let node = root;
    let start = node?.range[0] ?? 0;
    for (const [depth, segment] of path.entries()) {
      if (isSeq(node) && typeof segment === 'number') {
        node = node.items[segment] ?? null;
      } else {
        const pair = isMap(node) ? keysOf(node).get(String(segment)) : undefined;
        if (pair === undefined) return start;
        start = pair.key.range[0];
        if (at === 'key' && depth === path.length - 1) return start;
        node = pair.value;
      }
      // `key:` without a value is found at its key.
      start = node?.range[0] ?? start;
    }
    return offset === undefined || !isScalar(node) ? start : offsetInScalar(node, offset, text);
  };
}

/** How a key is called in paths; undefined for what cannot be a key of JSON. */
export function keyText(key: ParsedNode): string | undefined {
  if (!isScalar(key) || key.value === null) return undefined;
  // What YAML reads as a number or boolean is a key as it is written.
  return typeof key.value === 'string' ? key.value : key.source;
}

/** Each map's keys are gathered once, however many problems it has. */
function keyIndex(): (map: YAMLMap.Parsed) => ReadonlyMap<string, ParsedPair> {
  const known = new Map<YAMLMap.Parsed, ReadonlyMap<string, ParsedPair>>();
  return (map) => {
    const indexed = known.get(map) ?? new Map(map.items.map((pair) => [keyText(pair.key) ?? '', pair]));
    known.set(map, indexed);
    return indexed;
  };
}

/**
 * Where in the source the character at `offset` of the string stands. Indentation and folding only change white space, so
 * the two are walked side by side; an escape ends that, and then it is where the string begins.
 */
function offsetInScalar(node: Scalar.Parsed, offset: number, text: string): number {
  const start = node.range[0];
  if (typeof node.value !== 'string') return start;
  const value = node.value.slice(0, Math.min(offset, node.value.trimEnd().length));
  const isFolded = offset < node.value.length && !isSpace(node.value[offset]);
  let at = contentStart(node, text);
  for (let read = 0; read < value.length;) {
    if (isSpace(value[read])) {
      while (isSpace(value[read])) read += 1;
      at = skipSpace(text, at);
    } else {
      if (isSpace(text[at])) at = skipSpace(text, at);
      if (value[read] !== text[at]) return start;
      read += 1;
      at += 1;
    }
  }
  return isFolded ? skipSpace(text, at) : at;
}

function contentStart({ type, range: [start] }: Scalar.Parsed, text: string): number {
  // The content of a block begins in the line after its header.
  if (type === Scalar.BLOCK_LITERAL || type === Scalar.BLOCK_FOLDED) return text.indexOf('\n', start) + 1;
  return type === Scalar.PLAIN ? start : start + 1;
}

const isSpace = (character: string | undefined): boolean => character !== undefined && /\s/.test(character);

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text[at])) at += 1;
  return at;
}
