import { createCursors } from '../http/cursor.ts';
import type { LookHub } from '../http/look-hub.ts';
import { buildOpenApi } from '../http/openapi.ts';
import type { Operation } from '../http/operation.ts';
import { apiKeyOperations } from './api-keys.ts';
import { credentialOperations } from './credentials.ts';
import { deliveryOperations } from './deliveries.ts';
import { executionStreamOperations } from './execution-streams.ts';
import { executionOperations } from './executions.ts';
import { meOperations } from './me.ts';
import { openApiOperation } from './openapi.ts';
import { startExecution } from './start-execution.ts';
import { workflowOperations } from './workflows.ts';

export interface OperationOptions {
  readonly forgetKeys: () => void;
  /** Signs cursors. */
  readonly cursorSecret: string;
  /** Looks for streams. */
  readonly hub: LookHub;
}

/** All operations of the REST API, in the order of its documentation. */
export function createOperations(options: OperationOptions): readonly Operation[] {
  const cursors = createCursors(options.cursorSecret);
  const operations: readonly Operation[] = [
    ...workflowOperations(cursors),
    startExecution,
    ...executionOperations(cursors),
    ...executionStreamOperations(options.hub),
    ...deliveryOperations(cursors),
    ...credentialOperations,
    ...apiKeyOperations(options.forgetKeys),
    ...meOperations,
    openApiOperation(() => operations),
  ];
  return operations;
}

/** The OpenAPI document, without an API. */
export function describeApi(): ReturnType<typeof buildOpenApi> {
  const hub: LookHub = {
    follow: () => {
      throw new Error('only described, never served');
    },
  };
  return buildOpenApi(createOperations({ forgetKeys: () => undefined, cursorSecret: '', hub }));
}
