import { createFrameDecoder, encodeFrame, type Frame } from '../../core/sandbox/frames.ts';
import type { ImageHeader } from '../../core/sandbox/image-protocol.ts';
import type { RunnerHeader, WorkerHeader } from '../../core/sandbox/protocol.ts';
import {
  WARM_UP_INPUT,
  WARM_UP_OUTPUT_BYTES,
  WARM_UP_PAYLOAD,
  WARM_UP_PROGRAMS,
} from '../../core/sandbox/warm-up-program.ts';
import { readAll, writeAll } from './bytes.ts';
import type { Connection } from './deno.ts';

/** What dials; `image` runs a program of an image, once (image-protocol.ts). */
export type Runtime = keyof typeof WARM_UP_PROGRAMS | 'image';

/** The runner of this pod, ready and warm, with nothing of anybody in it. */
export interface LocalRunner {
  /** Its first frame, for whoever claims it. */
  readonly ready: Uint8Array;
  /** Whatever it says from now on goes there. Until then it has nothing to say. */
  handTo(sink: (bytes: Uint8Array) => Promise<void>): void;
  write(bytes: Uint8Array): Promise<void>;
}

const NONCE = '0'.repeat(32);

/**
 * Waits until a runner that has just connected is ready, and runs a program that does nothing.
 *
 * @param onGone it ended, or spoke out of turn: the pod is of no use any more
 * @throws when the warm-up fails
 */
export async function takeRunner(
  connection: Connection,
  runtime: Runtime,
  onGone: (reason: string) => void,
): Promise<LocalRunner> {
  const decoder = createFrameDecoder();
  const arrived: Frame[] = [];
  let wanted: PromiseWithResolvers<Frame> | undefined;
  let isWarm = false;
  let sink: ((bytes: Uint8Array) => Promise<void>) | undefined;

  const onFrame = (frame: Frame): void => {
    if (isWarm) throw new Error('the runner speaks though nobody has claimed it');
    if (wanted === undefined) arrived.push(frame);
    else wanted.resolve(frame);
    wanted = undefined;
  };
  const gone = (reason: string): void => {
    wanted?.reject(new Error(reason));
    onGone(reason);
  };
  readAll(connection, (bytes) => {
    if (sink !== undefined) return sink(bytes);
    for (const frame of decoder.push(bytes)) onFrame(frame);
    return undefined;
  }).then(
    () => gone('the runner has ended'),
    (raw: unknown) => gone(String(raw)),
  );
  const expect = async (type: (RunnerHeader | ImageHeader)['type']): Promise<Frame> => {
    const frame = arrived.shift() ?? (await (wanted = Promise.withResolvers()).promise);
    const header = frame.header as RunnerHeader | ImageHeader;
    if (header.type !== type) throw new Error(`the runner says "${header.type}" instead of "${type}"`);
    return frame;
  };
  const send = (header: WorkerHeader, payload?: Uint8Array): Promise<void> =>
    writeAll(connection, encodeFrame(header, payload));

  const handOver = ({ header, payload }: Frame): LocalRunner => {
    isWarm = true;
    return {
      ready: encodeFrame(header as RunnerHeader | ImageHeader, payload),
      handTo: (to) => void (sink = to),
      write: (bytes) => writeAll(connection, bytes),
    };
  };
  // There is nothing to warm up in a program that runs once.
  if (runtime === 'image') return handOver(await expect('image_ready'));
  const ready = await expect('ready');
  const { id, entry, source } = WARM_UP_PROGRAMS[runtime];
  await send({ type: 'program', program: id, language: runtime, entry, bytes: source.length });
  await send({ type: 'part', of: id }, source);
  await expect('program_ready');
  const input = new TextEncoder().encode(JSON.stringify(WARM_UP_PAYLOAD));
  await send({
    type: 'run',
    nonce: NONCE,
    program: id,
    bytes: input.length,
    maxOutputBytes: WARM_UP_OUTPUT_BYTES,
    maxLogBytes: 0,
  });
  await send({ type: 'part', of: NONCE }, input);
  const result = await expect('result');
  const output = new TextDecoder().decode(result.payload);
  if (output !== JSON.stringify(WARM_UP_INPUT)) throw new Error(`the warm-up gave back ${output}`);
  return handOver(ready);
}
