import {
  Composer,
  isAlias,
  isMap,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type CST,
  type Document,
  type ParsedNode,
  type Scalar,
  type YAMLMap,
} from 'yaml';
import type { FindingCode, Finding, Path } from './findings.ts';
import { keyText, locator, type Place } from './yaml-locate.ts';

/**
 * Reads the YAML of a document as plain JSON data, and remembers where each value stands. YAML 1.2, core schema, and of
 * that only what JSON can say: no anchors, aliases, merge keys, tags, directives, several documents (SECURITY section 5).
 */

export const MAX_SOURCE_BYTES = 1_048_576;
export const MAX_DEPTH = 100;
/** A bound on the work of parsing; a workflow of 500 steps has about 50,000. */
const MAX_LEXEMES = 200_000;
const MAX_SYNTAX_PROBLEMS = 100;

/** 1-based. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface YamlSource {
  /** JSON data: plain objects, lists, strings, finite numbers, booleans, null. */
  readonly value: unknown;
  /** Where a value or, with `at: 'key'`, its key stands; of what is not there: the nearest that contains it. */
  readonly locate: (place: Place) => Position;
}

/** A problem whose place is known already. */
export interface PlacedFinding extends Omit<Finding, 'path' | 'at' | 'offset'>, Position {
  readonly path: Path;
}

export interface YamlReading {
  /** Undefined when the text could not be read as data at all. */
  readonly source: YamlSource | undefined;
  readonly problems: readonly PlacedFinding[];
}

export function readYaml(text: string): YamlReading {
  const refused = refusal(text);
  if (refused !== undefined) return unreadable(refused);
  const lines = new LineCounter();
  const positionOf = (offset: number): Position => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const tokens = tokensOf(text, lines);
  if (tokens === undefined) {
    return unreadable(
      problem(
        'too_large',
        'the document has too many parts to be a workflow',
        'split it into several workflows',
      ),
    );
  }
  const tooDeep = deeperThan(tokens, MAX_DEPTH);
  if (tooDeep !== undefined) {
    return unreadable({
      ...problem('too_deep', `the document is nested deeper than ${MAX_DEPTH} levels`, 'flatten it'),
      ...positionOf(tooDeep),
    });
  }
  const directive = tokens.find((token) => token.type === 'directive');
  if (directive !== undefined) {
    return unreadable({
      ...problem('yaml_feature', 'YAML directives such as %YAML are not allowed', 'remove the line'),
      ...positionOf(directive.offset),
    });
  }
  const documents = [...new Composer(COMPOSE_OPTIONS).compose(tokens)];
  return readDocument(documents, text, positionOf);
}

const COMPOSE_OPTIONS = {
  version: '1.2',
  schema: 'core',
  merge: false,
  resolveKnownTags: false,
  // Checked here instead: the library compares each key with all before it.
  uniqueKeys: false,
  prettyErrors: false,
  logLevel: 'silent',
} as const;

const problem = (code: FindingCode, message: string, fix: string): PlacedFinding => ({
  path: [],
  line: 1,
  column: 1,
  code,
  message,
  fix,
});
const unreadable = (...problems: PlacedFinding[]): YamlReading => ({ source: undefined, problems });

function refusal(text: string): PlacedFinding | undefined {
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_SOURCE_BYTES) {
    return problem(
      'too_large',
      `the document has ${bytes} bytes, at most ${MAX_SOURCE_BYTES} are allowed`,
      'split it into several workflows',
    );
  }
  const nul = text.indexOf('\0');
  if (nul === -1) return undefined;
  const before = text.slice(0, nul).split('\n');
  return {
    ...problem(
      'yaml_syntax',
      'the document contains a NUL character',
      'remove it; is this a text file in UTF-8?',
    ),
    line: before.length,
    column: (before.at(-1)?.length ?? 0) + 1,
  };
}

/** The concrete syntax tree, or undefined when there is too much of it. */
function tokensOf(text: string, lines: LineCounter): readonly CST.Token[] | undefined {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  let count = 0;
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    count += 1;
    if (count > MAX_LEXEMES) return undefined;
    tokens.push(...parser.next(lexeme));
  }
  tokens.push(...parser.end());
  return tokens;
}

/** The offset of something nested deeper than `limit`; without recursion, since the text decides the depth. */
function deeperThan(tokens: readonly CST.Token[], limit: number): number | undefined {
  const stack: { readonly token: CST.Token; readonly depth: number }[] = tokens.map((token) => ({
    token,
    depth: 0,
  }));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { token, depth } = top;
    if (depth > limit) return token.offset;
    if (token.type === 'document' && token.value !== undefined) stack.push({ token: token.value, depth });
    if (!('items' in token)) continue;
    for (const { key, value } of token.items as readonly CST.CollectionItem[]) {
      if (key) stack.push({ token: key, depth: depth + 1 });
      if (value) stack.push({ token: value, depth: depth + 1 });
    }
  }
  return undefined;
}

type PositionOf = (offset: number) => Position;

function readDocument(
  documents: readonly Document.Parsed[],
  text: string,
  positionOf: PositionOf,
): YamlReading {
  const [document, second] = documents;
  if (document === undefined) {
    return unreadable(problem('yaml_syntax', 'the document is empty', 'begin with `name: my-workflow`'));
  }
  const syntax = syntaxProblems(documents, positionOf);
  if (syntax.length > 0) return unreadable(...syntax);
  if (second !== undefined) {
    return unreadable({
      ...problem(
        'yaml_feature',
        'there is more than one YAML document',
        'keep one workflow per file; remove the `---` between them',
      ),
      ...positionOf(second.range[0]),
    });
  }
  const found: PlacedFinding[] = [];
  const report = (offset: number, path: Path, code: FindingCode, message: string, fix: string): void => {
    found.push({ path, ...positionOf(offset), code, message, fix });
  };
  const reader: Reader = { report, complete: true };
  const value = toJson(document.contents, [], reader);
  const offsetOf = locator(document.contents, text);
  const source = { value, locate: (place: Place) => positionOf(offsetOf(place)) };
  return { source: reader.complete ? source : undefined, problems: found };
}

/** At most one a line: after the first the parser often misreads the rest of it. */
function syntaxProblems(
  documents: readonly Document.Parsed[],
  positionOf: PositionOf,
): readonly PlacedFinding[] {
  const byLine = new Map<number, PlacedFinding>();
  for (const { code, message, pos } of documents.flatMap(({ errors }) => errors)) {
    const position = positionOf(pos[0]);
    const isAftermath = code === 'UNEXPECTED_TOKEN' && byLine.size > 0;
    if (isAftermath || byLine.has(position.line)) continue;
    byLine.set(position.line, {
      ...problem(
        'yaml_syntax',
        `the YAML is not valid: ${message}`,
        'check indentation, quotes and brackets near here',
      ),
      ...position,
    });
    if (byLine.size === MAX_SYNTAX_PROBLEMS) break;
  }
  return [...byLine.values()];
}

interface Reader {
  readonly report: (offset: number, path: Path, code: FindingCode, message: string, fix: string) => void;
  /** False once a part could not be read, so that judging the rest would only mislead. */
  complete: boolean;
}

function toJson(node: ParsedNode | null, path: Path, reader: Reader): unknown {
  if (node === null) return null;
  const [offset] = node.range;
  if (isAlias(node)) {
    reader.complete = false;
    reader.report(
      offset,
      path,
      'yaml_feature',
      `the alias *${node.source} is not allowed`,
      'write the value out here',
    );
    return null;
  }
  if (node.anchor !== undefined) {
    reader.report(
      offset,
      path,
      'yaml_feature',
      `the anchor &${node.anchor} is not allowed`,
      'remove it, and write the value out where it is needed',
    );
  }
  if (node.tag !== undefined) {
    reader.report(
      offset,
      path,
      'yaml_feature',
      `the tag ${node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed`,
      'remove it; quote a value that is to be text',
    );
  }
  if (isMap(node)) return mapToJson(node, path, reader);
  if (isSeq(node)) return node.items.map((item, index) => toJson(item, [...path, index], reader));
  return scalarToJson(node, path, reader);
}

function mapToJson(node: YAMLMap.Parsed, path: Path, reader: Reader): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const pair of node.items) {
    const key = keyText(pair.key);
    const offset = pair.key.range[0];
    if (key === undefined) {
      reader.report(
        offset,
        path,
        'yaml_feature',
        'a key must be plain text, not a list, a mapping or an alias',
        'write a text key',
      );
      continue;
    }
    const below = [...path, key];
    if (pair.key.anchor !== undefined || pair.key.tag !== undefined) {
      reader.report(offset, below, 'yaml_feature', `the key ${key} has an anchor or a tag`, 'remove it');
    }
    if (key === '<<') {
      reader.report(
        offset,
        below,
        'yaml_feature',
        'the merge key << is not allowed',
        'write the keys out here',
      );
      continue;
    }
    if (key === '__proto__') {
      reader.report(offset, below, 'yaml_feature', 'the key __proto__ is not allowed', 'choose another name');
      continue;
    }
    if (Object.hasOwn(object, key)) {
      reader.report(offset, below, 'duplicate_key', `the key \`${key}\` is there twice`, 'keep one of them');
    }
    object[key] = toJson(pair.value, below, reader);
  }
  return object;
}

function scalarToJson(node: Scalar.Parsed, path: Path, reader: Reader): unknown {
  const { value } = node;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) {
      reader.report(
        node.range[0],
        path,
        'invalid_value',
        `JSON has no number ${node.source}`,
        'quote it if it is to be text',
      );
    } else if (/^([-+]?\d+|0[ox].*)$/.test(node.source) && !Number.isSafeInteger(value)) {
      reader.report(
        node.range[0],
        path,
        'invalid_value',
        `the number ${node.source} cannot be kept exactly`,
        'quote it to keep it as text',
      );
    }
  }
  return value;
}
