/**
 * The format of a stored workflow document. A release that meets a higher number leaves the execution to a newer one
 * instead of failing it (FAULTS: "a new release cannot read an old row").
 */
export const WORKFLOW_FORMAT = 1;
