import { PassThrough, type Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { coerceError } from '../../../core/errors/app-error.ts';
import {
  createFrameDecoder,
  encodeFrame,
  MAX_PAYLOAD_BYTES,
  ProtocolError,
  type Frame,
} from '../../../core/sandbox/frames.ts';
import {
  IMAGE_PROTOCOL_VERSION,
  imageFactsSchema,
  imageHeaderSchema,
  type ImageProgram,
  type ImageWorkerHeader,
} from '../../../core/sandbox/image-protocol.ts';
import type { z } from '../../../core/zod.ts';
import type { ImageContainer, Sandbox, SandboxExit } from '../driver.ts';
import { writeFully } from './write-fully.ts';

const READY_TIMEOUT_MS = 30_000;
/** 128 and SIGKILL: whether somebody killed the program, or what it runs on, cannot be told (as on one machine). */
const KILLED = 137;

/** A pod that is ready to run one program of its image. */
export interface ImageSession {
  readonly facts: z.infer<typeof imageFactsSchema>;
  /** Once. */
  start(program: ImageProgram, input: string): ImageContainer;
}

/**
 * Speaks with the pod of an image. From now on the sandbox is the session's: it is killed when the program has ended, at
 * the first breach of the protocol, and when it is not ready in time.
 *
 * @throws Error when it does not become ready
 */
export async function openImageSession(
  sandbox: Sandbox,
  readyTimeoutMs = READY_TIMEOUT_MS,
): Promise<ImageSession> {
  const ready = Promise.withResolvers<ImageSession['facts']>();
  const outputs = { stdout: new PassThrough(), stderr: new PassThrough() };
  let state: 'new' | 'ready' | 'started' | 'over' = 'new';
  let end: SandboxExit | undefined;
  const finish = (how: SandboxExit): void => {
    end = how;
    state = 'over';
  };
  const onFrame = async ({ header, payload }: Frame): Promise<void> => {
    const parsed = imageHeaderSchema.safeParse(header);
    if (!parsed.success) throw new ProtocolError('a header fits no schema');
    const said = parsed.data;
    if ((said.type === 'image_ready') !== (state === 'new') || state === 'ready') {
      throw new ProtocolError(`"${said.type}" out of turn`);
    }
    switch (said.type) {
      case 'image_ready':
        if (said.protocol !== IMAGE_PROTOCOL_VERSION) {
          throw new ProtocolError(`it speaks protocol ${said.protocol}, not ${IMAGE_PROTOCOL_VERSION}`);
        }
        state = 'ready';
        ready.resolve(imageFactsSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8'))));
        break;
      case 'stdout':
      case 'stderr':
        await writeFully(outputs[said.type], payload);
        break;
      case 'ended':
        finish({
          reason: 'exited',
          detail: `exit code ${said.code}`,
          ...(said.code === KILLED ? {} : { exitCode: said.code }),
        });
        break;
      case 'not_started':
        finish({ reason: 'exited', detail: said.reason, programFailure: said.reason });
        break;
      default:
        said satisfies never;
    }
  };
  const read = async (): Promise<void> => {
    try {
      await readUntilOver(sandbox.channel, onFrame, () => state === 'over');
    } catch (raw) {
      if (raw instanceof ProtocolError) finish({ reason: 'exited', detail: `breach: ${raw.message}` });
      ready.reject(coerceError(raw));
    }
    ready.reject(new Error('it hung up'));
    // What hangs up by itself has an end of its own, which a kill would hide.
    if (state === 'over') sandbox.kill();
    outputs.stdout.end();
    outputs.stderr.end();
  };
  void read();
  const late = delay(readyTimeoutMs, undefined, { ref: false }).then(() => {
    ready.reject(new Error(`it was not ready within ${readyTimeoutMs} ms`));
  });
  void late;
  let facts: ImageSession['facts'];
  try {
    facts = await ready.promise;
  } catch (error) {
    sandbox.kill();
    throw error;
  }
  return {
    facts,
    start(program, input) {
      state = 'started';
      void send(sandbox.channel, program, input);
      return {
        id: sandbox.id,
        stdout: outputs.stdout,
        stderr: outputs.stderr,
        exited: sandbox.exited.then((exit) => end ?? exit),
        kill: () => sandbox.kill(),
      };
    },
  };
}

/** Reads slowly where what is read is taken slowly. */
async function readUntilOver(
  channel: Duplex,
  onFrame: (frame: Frame) => Promise<void>,
  isOver: () => boolean,
): Promise<void> {
  const decoder = createFrameDecoder();
  for await (const chunk of channel as AsyncIterable<Uint8Array>) {
    for (const frame of decoder.push(chunk)) {
      await onFrame(frame);
      if (isOver()) return;
    }
  }
}

async function send(channel: Duplex, program: ImageProgram, input: string): Promise<void> {
  const bodies = { program: Buffer.from(JSON.stringify(program)), input: Buffer.from(input) };
  const say = (header: ImageWorkerHeader, payload?: Uint8Array): Promise<void> =>
    writeFully(channel, encodeFrame(header, payload));
  await say({ type: 'program', bytes: bodies.program.length, inputBytes: bodies.input.length });
  for (const part of ['program', 'input'] as const) {
    const body = bodies[part];
    for (let at = 0; at < body.length; at += MAX_PAYLOAD_BYTES) {
      await say({ type: 'part', of: part }, body.subarray(at, at + MAX_PAYLOAD_BYTES));
    }
  }
}
