import type { IncomingHttpHeaders } from 'node:http';
import type { Response } from 'express';
import type { Logger } from 'pino';
import type { ErrorCode } from '../../core/errors/registry.ts';
import type { Trace } from '../../core/telemetry/tracing.ts';
import type { Principal } from '../../core/tenants/api-keys.ts';
import type { Role } from '../../core/tenants/roles.ts';
import type { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';

/** The chapters of the documentation. */
export type Tag = 'workflows' | 'executions' | 'deliveries' | 'credentials' | 'keys' | 'api';
export type Method = 'get' | 'put' | 'post' | 'delete';

/** Names in braces of an OpenAPI path: `/workflows/{name}/versions/{n}` → `name | n`. */
export type PathParams<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? Name | PathParams<Rest>
  : never;

/** A request after its envelope was checked. */
export interface ApiRequest<Params extends string, Query, Body> {
  readonly requestId: string;
  readonly principal: Principal;
  /** Percent-decoded; what is no such name or id is answered with 404 by the handler. */
  readonly params: Readonly<Record<Params, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly headers: IncomingHttpHeaders;
  /** Aborted when the caller goes away or the process drains. */
  readonly signal: AbortSignal;
  /** Undefined where tracing is off. */
  readonly trace: Trace | undefined;
  readonly log: Logger;
}

/** What a handler answers with: JSON, raw bytes, nothing, or a stream that it writes by itself. */
export type Reply =
  | { readonly status: number; readonly json: unknown; readonly headers?: ReplyHeaders }
  | { readonly status: number; readonly bytes: Buffer; readonly headers: ReplyHeaders }
  | { readonly status: 204 }
  | { readonly stream: (res: Response) => Promise<void> };
type ReplyHeaders = Readonly<Record<string, string>>;

/** How one status of an operation is documented. */
export interface ReplySpec {
  readonly description: string;
  /** Undefined: no body. */
  readonly schema?: z.ZodType;
  /** Default `application/json`. */
  readonly mediaType?: string;
  /** A form that `Accept` may ask for instead; its schema is text. */
  readonly orMediaType?: string;
}

export interface BodySpec<Body> {
  readonly schema: z.ZodType<Body>;
  /** The documented schema, where the handler checks more than the envelope with it. */
  readonly documentedAs?: z.ZodType;
  /** Stands for an empty body; without it an empty body is refused. */
  readonly empty?: NoInfer<Body>;
  /** Cap on the inflated size; default `limits.maxBodyBytes`. */
  readonly maxBytes?: number;
  /** Takes other than JSON: the text of the body becomes the schema's input. */
  readonly text?: { readonly mediaType: string; readonly wrap: (text: string) => NoInfer<Body> };
}

/** One operation of the REST API: what routes it, checks it and documents it. */
export interface OperationSpec<Path extends string, Query extends z.ZodRawShape, Body> {
  /** `operationId` in OpenAPI, and the route's name in logs. */
  readonly id: string;
  readonly method: Method;
  /** Below /api/v1, with parameters in braces. */
  readonly path: Path;
  readonly tag: Tag;
  readonly summary: string;
  /** The least role that may do it. */
  readonly role: Role;
  /** Descriptions of the path's parameters. */
  readonly params: Readonly<Record<PathParams<Path>, string>>;
  /** Query parameters; each is text at first. */
  readonly query?: Query;
  /** Request headers with a meaning of their own, for the documentation; the handler reads them. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: BodySpec<Body>;
  readonly replies: Readonly<Record<number, ReplySpec>>;
  /** Problems beside those that any operation may have (401, 403, 400, 503). */
  readonly errors: readonly ErrorCode[];
  readonly handle: (
    deps: ApiDeps,
    request: ApiRequest<PathParams<Path>, z.output<z.ZodObject<Query>>, Body>,
  ) => Promise<Reply>;
}

/** An operation whose parameter types only its own handler knows. */
export type Operation = Omit<OperationSpec<string, z.ZodRawShape, unknown>, 'handle' | 'params'> & {
  readonly params: Readonly<Record<string, string>>;
  readonly handle: (
    deps: ApiDeps,
    request: ApiRequest<string, Readonly<Record<string, unknown>>, unknown>,
  ) => Promise<Reply>;
};

export function operation<
  const Path extends string,
  Query extends z.ZodRawShape = { readonly [name: string]: never },
  Body = undefined,
>(spec: OperationSpec<Path, Query, Body>): Operation {
  // Safe: the router parses exactly these parameters, query and body with the spec's own schemas before it calls.
  return spec as unknown as Operation;
}

/** How Express writes the path: `{name}` → `:name`. */
export const expressPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ':$1');
