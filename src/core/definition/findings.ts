import { isRecord } from '../json.ts';

/** A key or an index. */
export type PathSegment = string | number;
export type Path = readonly PathSegment[];

/** The codes of a workflow's problems and warnings; API, never renamed. docs/workflow.md explains each. */
export const FINDING_CODES = [
  'yaml_syntax',
  'yaml_feature',
  'duplicate_key',
  'too_large',
  'too_deep',
  'required',
  'invalid_value',
  'unknown_key',
  'not_supported',
  'invalid_expression',
  'duplicate_step',
  'unknown_step',
  'missing_need',
  'cycle',
  'unknown_credential',
  'unknown_file',
  'conflict',
  'no_effect',
] as const;
export type FindingCode = (typeof FINDING_CODES)[number];

/** Checks stop looking after this many: more would be shown to nobody, and a document may be made to be wrong all over. */
export const MAX_FINDINGS = 500;

/** What `find` has to say about each item, up to `max` findings in all. */
export function collectFindings<T>(
  items: Iterable<T>,
  find: (item: T) => readonly Finding[],
  max = MAX_FINDINGS,
): readonly Finding[] {
  const found: Finding[] = [];
  for (const item of items) {
    found.push(...find(item));
    if (found.length >= max) break;
  }
  return found.slice(0, max);
}

/** What is wrong, before it is known where in the YAML that is. */
export interface Finding {
  readonly path: Path;
  /** `key`: the problem is the last key of the path, not its value. */
  readonly at?: 'key' | 'value';
  /** 0-based, into the string at `path`. */
  readonly offset?: number;
  readonly code: FindingCode;
  readonly message: string;
  readonly fix: string;
}

/** `steps[2].http.url`; keys that are no plain names are quoted: `config["a b"]`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const segment of path) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else if (!/^[A-Za-z_$][\w$-]*$/.test(segment)) text += `[${JSON.stringify(segment)}]`;
    else text += text === '' ? segment : `.${segment}`;
  }
  return text;
}

/** The value at `path`; undefined where there is none. */
export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const segment of path) {
    if (Array.isArray(value) && typeof segment === 'number') value = value[segment];
    else if (isRecord(value) && Object.hasOwn(value, segment)) value = value[segment];
    else return undefined;
  }
  return value;
}

/** A value as an author would recognise it, cut to one short line. */
export function preview(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}…`;
}
