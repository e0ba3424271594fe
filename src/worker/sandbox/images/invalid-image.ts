import { terminalError, type StepError } from '../../../core/step-error.ts';

/** @param what completes "The image …" */
export const invalidImage = (what: string, cause?: unknown): StepError =>
  terminalError('invalid_image', `The image ${what}`, cause);
