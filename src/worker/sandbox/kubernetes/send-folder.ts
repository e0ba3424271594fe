import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import type { WorkerHeader } from '../../../core/sandbox/protocol.ts';
import { terminalError } from '../../../core/step-error.ts';
import { filesBelow } from '../rootfs/files.ts';
import { writeFully } from './write-fully.ts';

const PIECE_BYTES = 262_144;
const MIB = 1_048_576;
/** What the volume of a pod takes (deployments/kubernetes/base/runner/pool). */
export const MAX_FOLDER_BYTES = 240 * MIB;

/**
 * Makes the files of a folder of this machine in a sandbox that has none in common with it.
 *
 * @param inside where, absolute
 * @throws StepError `resource_limit` when they are more than there is room for; Error when the sandbox is gone
 */
export async function sendFolder(channel: Duplex, folder: string, inside: string): Promise<void> {
  const files = await filesBelow(folder);
  let size = 0;
  for (const file of files) size += (await stat(join(folder, file))).size;
  if (size > MAX_FOLDER_BYTES) throw tooLarge();
  for (const file of files) {
    const header: WorkerHeader = { type: 'file', path: `${inside}/${file}` };
    // An empty one is to be there as well.
    await send(channel, header, new Uint8Array(0));
    for await (const piece of createReadStream(join(folder, file), { highWaterMark: PIECE_BYTES })) {
      await send(channel, header, piece as Buffer); // it has no encoding
    }
  }
}

async function send(channel: Duplex, header: WorkerHeader, piece: Uint8Array): Promise<void> {
  if (channel.destroyed) throw new Error('the sandbox ended while it was given its packages');
  await writeFully(channel, encodeFrame(header, piece));
}

const tooLarge = () =>
  terminalError(
    'resource_limit',
    `The step's Python packages take more than ${MAX_FOLDER_BYTES / MIB} MiB unpacked, which is what a runner pod has room for. ` +
      'Take packages out of requirements.txt.',
  );
