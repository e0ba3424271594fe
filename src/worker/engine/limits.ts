/** Of what a step or an execution results in, as JSON. */
export const MAX_OUTPUT_BYTES = 1_048_576;
