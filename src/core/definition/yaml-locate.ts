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

/** Where in the source the character at `offset` of the string stands; its beginning where escapes or folding hide that. */
function offsetInScalar(node: Scalar.Parsed, offset: number, text: string): number {
  const start = node.range[0];
  if (typeof node.value !== 'string') return start;
  const before = node.value.slice(0, offset);
  if (node.type === Scalar.BLOCK_LITERAL) return offsetInBlock(node, before, text);
  const first = node.type === Scalar.PLAIN ? start : start + 1;
  const isVerbatim = node.type !== Scalar.BLOCK_FOLDED && text.startsWith(before, first);
  return isVerbatim ? first + offset : start;
}

/** A literal block (`|`): every line of the string is a line of the source, less the indentation. */
function offsetInBlock(node: Scalar.Parsed, before: string, text: string): number {
  const lines = before.split('\n');
  const column = lines.at(-1)?.length ?? 0;
  let lineStart = text.indexOf('\n', node.range[0]) + 1;
  const indent = blockIndent(text.slice(lineStart, node.range[1]), String(node.value));
  for (let line = 1; line < lines.length; line += 1) lineStart = text.indexOf('\n', lineStart) + 1;
  return lineStart + indent + column;
}

/** How far the block is indented: its first line with text, compared with the same line of the string. */
function blockIndent(block: string, value: string): number {
  const isFilled = (line: string): boolean => line.trim() !== '';
  const inSource = block.split('\n').find(isFilled) ?? '';
  const inValue = value.split('\n').find(isFilled) ?? '';
  return Math.max(0, inSource.trimEnd().length - inValue.trimEnd().length);
}
