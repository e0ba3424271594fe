import { ERRORS, type ErrorCode } from '../../core/errors/registry.ts';
import { z } from '../../core/zod.ts';
import type { BodySpec, Operation, ReplySpec, Tag } from './operation.ts';
import { problemShape } from './problem-shape.ts';
import { PROBLEM_MEDIA_TYPE, statusOf } from './problem.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

const TAGS: Readonly<Record<Tag, string>> = {
  workflows: 'Definitions, their versions and webhook endpoints',
  executions: 'Runs of workflows',
  deliveries: 'Received webhook requests',
  credentials: 'Secrets by name; their values go in and never come out',
  keys: 'Who may call this API',
  api: 'The API itself',
};

/** An OpenAPI 3.1 document of the operations, made from the very schemas that check their requests. */
export function buildOpenApi(operations: readonly Operation[]): JsonSchema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of operations) {
    (paths[operation.path] ??= {})[operation.method] = describeOperation(operation);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace',
      version: '1',
      description:
        'Webhooks in, durable workflow executions out. Errors are RFC 9457 problem documents; `code` is stable.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/api/v1' }],
    security: [{ apiKey: [] }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      securitySchemes: { apiKey: { type: 'http', scheme: 'bearer', description: 'An API key' } },
      schemas: { Problem: jsonSchemaOf(problemShape) },
    },
  };
}

/** Without `$schema`, as JSON Schema 2020-12 is the dialect of OpenAPI 3.1, and without what `format` and `type` say. */
function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      if (jsonSchema.format === 'date-time' || jsonSchema.format === 'uuid') delete jsonSchema.pattern;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  return rest;
}

function describeOperation(operation: Operation): JsonSchema {
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    description: `Needs an API key of role ${operation.role} or above.`,
    parameters: describeParameters(operation),
    ...(operation.body !== undefined && { requestBody: describeBody(operation.body) }),
    responses: {
      ...mapValues(operation.replies, describeReply),
      ...describeProblems(operation),
      default: problemReply('Any other problem'),
    },
  };
}

function describeParameters(operation: Operation): readonly JsonSchema[] {
  const inPath = Object.entries(operation.params).map(([name, description]) => ({
    name,
    in: 'path',
    required: true,
    description,
    schema: { type: 'string' },
  }));
  const inQuery = Object.entries(operation.query ?? {}).map(([name, raw]) => {
    const schema = raw as z.ZodType; // shapes hold schemas of this zod
    const { description, ...type } = jsonSchemaOf(schema);
    return { name, in: 'query', required: !schema.safeParse(undefined).success, description, schema: type };
  });
  const inHeader = Object.entries(operation.headers ?? {}).map(([name, description]) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  }));
  return [...inPath, ...inQuery, ...inHeader];
}

function describeBody(body: BodySpec<unknown>): JsonSchema {
  return {
    required: body.empty === undefined,
    content: {
      'application/json': { schema: jsonSchemaOf(body.documentedAs ?? body.schema) },
      ...(body.text !== undefined && { [body.text.mediaType]: { schema: { type: 'string' } } }),
    },
  };
}

const describeReply = ({ description, schema, mediaType, orMediaType }: ReplySpec): JsonSchema => ({
  description,
  ...(schema !== undefined && {
    content: {
      [mediaType ?? 'application/json']: { schema: jsonSchemaOf(schema) },
      ...(orMediaType !== undefined && { [orMediaType]: { schema: { type: 'string' } } }),
    },
  }),
});

function describeProblems(operation: Operation): JsonSchema {
  const codes: readonly ErrorCode[] = [
    'invalid_request',
    'unauthenticated',
    ...(operation.role === 'viewer' ? [] : (['forbidden'] as const)),
    ...(operation.body === undefined
      ? []
      : (['malformed_json', 'json_too_deep', 'body_too_large', 'unsupported_content_type'] as const)),
    ...operation.errors,
  ];
  const byStatus = Map.groupBy(new Set(codes), statusOf);
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, problemReply(explain(group))]));
}

const explain = (codes: readonly ErrorCode[]): string =>
  codes.map((code) => `\`${code}\`: ${ERRORS[code].message.replaceAll('%s', '…')}`).join('\n\n');

const problemReply = (description: string): JsonSchema => ({
  description,
  content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
});

const mapValues = <V, R>(record: Readonly<Record<string, V>>, map: (value: V) => R): Record<string, R> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
