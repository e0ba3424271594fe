import { isDeeperThan, MAX_JSON_DEPTH } from '../../../core/deliveries/body.ts';
import type { JsonValue } from '../../../core/json.ts';
import { ProtocolError } from '../../../core/sandbox/frames.ts';
import {
  failureDetailSchema,
  type FailureDetail,
  type RunFailure,
  type RunPayload,
} from '../../../core/sandbox/protocol.ts';
import { terminalError } from '../../../core/step-error.ts';
import type { RunEnd } from '../types.ts';
import { decodeText } from './text.ts';

/** What a run may be given in all; a slot's heap does not hold much more as objects. */
const MAX_RUN_PAYLOAD_BYTES = 33_554_432;

const encoder = new TextEncoder();

/** @throws StepError `invalid_input` when it is too large to be handed over */
export function encodePayload(payload: RunPayload): Uint8Array {
  const bytes = encoder.encode(JSON.stringify(payload));
  if (bytes.length <= MAX_RUN_PAYLOAD_BYTES) return bytes;
  throw terminalError(
    'invalid_input',
    `The step's input, config and secrets take ${bytes.length} bytes as JSON; a code step is given at most ` +
      `${MAX_RUN_PAYLOAD_BYTES}. Pass a part of it with \`input:\`, or a URL that the code fetches.`,
  );
}

const failed = (failure: RunFailure, name: string, message: string): RunEnd => ({
  type: 'failed',
  failure,
  detail: { name, message },
});

/** The end of a run that was cancelled before its runner could say so. */
export const CANCELLED: RunEnd = failed('cancelled', 'Cancelled', 'The run was cancelled.');

/**
 * The output of a run, judged again on this side: the runner's word is not enough.
 *
 * @throws ProtocolError when it is no text at all
 */
export function parseOutput(payload: Uint8Array, maxOutputBytes: number): RunEnd {
  if (payload.length > maxOutputBytes) {
    return failed(
      'output_too_large',
      'OutputTooLarge',
      `The output is ${payload.length} bytes of JSON; at most ${maxOutputBytes} are allowed.`,
    );
  }
  if (isDeeperThan(Buffer.from(payload.buffer, payload.byteOffset, payload.length), MAX_JSON_DEPTH)) {
    return failed(
      'invalid_output',
      'InvalidOutput',
      `The output is nested more than ${MAX_JSON_DEPTH} levels deep.`,
    );
  }
  const text = decodeText(payload);
  try {
    return { type: 'result', output: JSON.parse(text) as JsonValue };
  } catch {
    return failed('invalid_output', 'InvalidOutput', 'The output is not JSON.');
  }
}

/** @throws ProtocolError when it is not what `failed` and `program_failed` carry */
export function parseFailure(payload: Uint8Array): FailureDetail {
  let value: unknown;
  try {
    value = JSON.parse(decodeText(payload));
  } catch (cause) {
    throw cause instanceof ProtocolError ? cause : new ProtocolError('a failure is not JSON', { cause });
  }
  const detail = failureDetailSchema.safeParse(value);
  if (!detail.success) throw new ProtocolError('a failure has another shape', { cause: detail.error });
  return detail.data;
}
