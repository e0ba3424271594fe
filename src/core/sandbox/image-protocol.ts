import { z } from '../zod.ts';

/**
 * What worker and pod say to each other where a program of an image is run, in frames as with runners. The worker checks
 * what it gets: the program may say anything in place of what carries it.
 *
 * After `image_ready` the worker sends `program` and its parts; then come `stdout` and `stderr`, and at last `ended`, or
 * instead of all these `not_started`. Whoever hangs up ends it.
 */

/** A pod that says another number is not used. */
export const IMAGE_PROTOCOL_VERSION = 1;

/** From the pod. */
export const imageHeaderSchema = z.discriminatedUnion('type', [
  /** The first frame of all. Payload: JSON of {@link imageFactsSchema}. */
  z.strictObject({ type: z.literal('image_ready'), protocol: z.int() }),
  /** Payload: the next bytes that the program wrote. */
  z.strictObject({ type: z.literal('stdout') }),
  z.strictObject({ type: z.literal('stderr') }),
  /** Exit code of the program; 128 and the number of the signal that ended it. Nothing follows. */
  z.strictObject({ type: z.literal('ended'), code: z.int().min(0).max(255) }),
  /** The program cannot be started; nothing follows. */
  z.strictObject({ type: z.literal('not_started'), reason: z.string().max(1000) }),
]);
export type ImageHeader = z.infer<typeof imageHeaderSchema>;

/** How the image wants its programs to be run. */
export const imageFactsSchema = z.object({
  environment: z.record(z.string(), z.string()),
  folder: z.string(),
});

/** From the worker. */
export type ImageWorkerHeader =
  /** Begins what is to be run; `bytes` of JSON of {@link ImageProgram} and `inputBytes` of its stdin follow. */
  | { readonly type: 'program'; readonly bytes: number; readonly inputBytes: number }
  /** Payload: the next bytes of either, those of the program first. */
  | { readonly type: 'part'; readonly of: 'program' | 'input' };

export interface ImageProgram {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Where it starts; absolute. */
  readonly folder: string;
}
