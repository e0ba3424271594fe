import type { IncomingMessage } from 'node:http';
import { appError, type Problem } from '../../core/errors/app-error.ts';
import type { JsonValue } from '../../core/json.ts';
import type { z } from '../../core/zod.ts';
import type { BodySpec } from './operation.ts';
import { decodeUtf8, parseJson } from './parse-json.ts';
import { readBody } from './read-body.ts';

/**
 * Reads the query of a request URL by `schema`.
 *
 * @throws AppError `invalid_request` for unknown, repeated and invalid parameters, all at once
 */
export function readQuery<Shape extends z.ZodRawShape>(
  url: string,
  schema: z.ZodObject<Shape>,
): z.output<z.ZodObject<Shape>> {
  const at = url.indexOf('?');
  const values: Record<string, string> = {};
  const problems: Problem[] = [];
  const allowed = Object.keys(schema.shape);
  for (const [name, value] of new URLSearchParams(at === -1 ? '' : url.slice(at + 1))) {
    if (!allowed.includes(name)) problems.push(unknownName(`query.${name}`, allowed));
    else if (Object.hasOwn(values, name)) {
      problems.push({
        path: `query.${name}`,
        message: `\`${name}\` is given more than once`,
        fix: 'give it once',
      });
    } else values[name] = value;
  }
  const parsed = schema.safeParse(values);
  if (!parsed.success) problems.push(...problemsOf(parsed.error, 'query', values));
  if (problems.length > 0 || !parsed.success) throw invalidRequest('query', problems);
  return parsed.data;
}

/**
 * Reads the body of a request by `spec`.
 *
 * @throws AppError `unsupported_content_type`, `malformed_json`, `json_too_deep`, `body_too_large`, or
 *   `invalid_request` for an envelope with unknown, missing or invalid fields
 */
export async function readApiBody<Body>(
  req: IncomingMessage,
  spec: BodySpec<Body>,
  maxBytes: number,
): Promise<Body> {
  const bytes = await readBody(req, { maxBytes: spec.maxBytes ?? maxBytes });
  if (bytes.length === 0 && spec.empty !== undefined) return spec.empty;
  const type = mediaTypeOf(req.headers['content-type']);
  if (spec.text !== undefined && type === spec.text.mediaType) {
    const text = decodeUtf8(bytes);
    if (text === undefined) {
      throw appError('invalid_request', { args: ['The request body is not UTF-8; save the file as UTF-8'] });
    }
    return spec.text.wrap(text);
  }
  if (type !== 'application/json') {
    const accepted = ['application/json', ...(spec.text === undefined ? [] : [spec.text.mediaType])];
    throw appError('unsupported_content_type', {
      args: [JSON.stringify((req.headers['content-type'] ?? '').slice(0, 100)), accepted.join(' or ')],
    });
  }
  const value: JsonValue = parseJson(bytes);
  const parsed = spec.schema.safeParse(value);
  if (!parsed.success) throw invalidRequest('body', problemsOf(parsed.error, '', value));
  return parsed.data;
}

// RFC 9110, section 8.3.1; parameters other than charset are not understood by any type we take.
const MEDIA_TYPE =
  /^\s*([\w!#$&^.+-]+\/[\w!#$&^.+-]+)\s*(?:;\s*charset\s*=\s*(?:"utf-?8"|utf-?8)\s*)?;?\s*$/i;

/** Lower case; undefined when it is missing, doubled, malformed or in another charset than UTF-8. */
export const mediaTypeOf = (header: string | undefined): string | undefined =>
  MEDIA_TYPE.exec(header ?? '')?.[1]?.toLowerCase();

/** The envelope's problems; the document inside a workflow has its own, richer ones. */
function invalidRequest(what: 'query' | 'body', problems: readonly Problem[]) {
  const first = problems[0]!; // called with at least one
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  const noun = what === 'query' ? 'query parameter' : 'request body';
  return appError('invalid_request', {
    args: [
      `The ${noun} is wrong: ${first.path === '' ? '' : `${first.path}: `}${first.message}${more}; ${first.fix}`,
    ],
    problems,
  });
}

/** zod's issues as problems of an envelope. */
export function problemsOf(error: z.ZodError, root: string, value: unknown): readonly Problem[] {
  return error.issues.flatMap((issue) => {
    const path = pathText(root, issue.path);
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => unknownName(pathText(root, [...issue.path, key]), []));
    }
    const missing = issue.code === 'invalid_type' && valueAt(value, issue.path) === undefined;
    return [
      missing
        ? { path, message: 'is missing', fix: `add it: ${expectation(issue)}` }
        : { path, message: issue.message, fix: expectation(issue) },
    ];
  });
}

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') {
    return `give ${/^[aeiou]/.test(issue.expected) ? 'an' : 'a'} ${issue.expected}`;
  }
  if (issue.code === 'invalid_value') {
    return `use one of ${issue.values.map((allowed) => String(allowed)).join(', ')}`;
  }
  return 'see /api/v1/openapi.json for what is allowed';
}

function unknownName(path: string, allowed: readonly string[]): Problem {
  const fix = allowed.length === 0 ? 'leave it out' : `leave it out; known are ${allowed.join(', ')}`;
  return { path, message: 'is not known here', fix };
}

function pathText(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, root);
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null && Object.hasOwn(inner, key)
        ? (inner as Record<PropertyKey, unknown>)[key] // hasOwn tested it
        : undefined,
    value,
  );
}
