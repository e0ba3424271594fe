import { z } from '../../core/zod.ts';
import { buildOpenApi } from '../http/openapi.ts';
import { operation, type Operation } from '../http/operation.ts';

/** @param operations all of them, this one included; read when the first request comes */
export function openApiOperation(operations: () => readonly Operation[]): Operation {
  let document: ReturnType<typeof buildOpenApi> | undefined;
  return operation({
    id: 'getOpenApi',
    method: 'get',
    path: '/openapi.json',
    tag: 'api',
    summary: 'Get this document',
    role: 'viewer',
    params: {},
    replies: {
      200: { description: 'An OpenAPI 3.1 document', schema: z.looseObject({ openapi: z.string() }) },
    },
    errors: [],
    handle: async () => ({ status: 200, json: (document ??= buildOpenApi(operations())) }),
  });
}
