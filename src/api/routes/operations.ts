import { createCursors } from '../http/cursor.ts';
import type { Operation } from '../http/operation.ts';
import { apiKeyOperations } from './api-keys.ts';
import { credentialOperations } from './credentials.ts';
import { deliveryOperations } from './deliveries.ts';
import { executionOperations } from './executions.ts';
import { meOperations } from './me.ts';
import { startExecution } from './start-execution.ts';
import { workflowOperations } from './workflows.ts';

export interface OperationOptions {
  readonly forgetKeys: () => void;
  /** Signs cursors. */
  readonly cursorSecret: string;
}

/** All operations of the REST API, in the order of its documentation. */
export function createOperations(options: OperationOptions): readonly Operation[] {
  const cursors = createCursors(options.cursorSecret);
  return [
    ...workflowOperations(cursors),
    startExecution,
    ...executionOperations(cursors),
    ...deliveryOperations(cursors),
    ...credentialOperations,
    ...apiKeyOperations(options.forgetKeys),
    ...meOperations,
  ];
}
