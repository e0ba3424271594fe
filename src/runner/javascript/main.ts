import { createFrameDecoder } from '../../core/sandbox/frames.ts';
import { denoApi, type DenoApi } from './deno.ts';
import { createFrameWriter } from './frame-writer.ts';
import { PROTOCOL_VERSION, SLOTS } from './limits.ts';
import { createSession } from './session.ts';
import { createSlots } from './slots.ts';

const READ_BYTES = 65_536;

/** The runner: frames in, frames out, until there is nobody to talk to. */
async function main(deno: DenoApi): Promise<void> {
  const exit = (): never => deno.exit(0);
  const send = createFrameWriter(deno.stdout, exit);
  const slots = createSlots(SLOTS);
  const session = createSession(send, slots);
  await slots.ready;
  send({
    type: 'ready',
    protocol: PROTOCOL_VERSION,
    runtime: `deno ${deno.version.deno} (v8 ${deno.version.v8})`,
    slots: SLOTS,
    // Reading what the kernel says of itself takes a permission, which nothing here has.
    kernel: '',
  });

  const decoder = createFrameDecoder();
  const buffer = new Uint8Array(READ_BYTES);
  for (;;) {
    const length = await deno.stdin.read(buffer);
    if (length === null) exit();
    for (const frame of decoder.push(buffer.subarray(0, length ?? 0))) session.receive(frame);
    slots.flush();
  }
}

const deno = denoApi();
main(deno).catch(() => deno.exit(1));
