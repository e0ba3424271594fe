/**
 * The frames between a worker and a runner, the same bytes over every driver's stream:
 *
 *     u32 length of what follows · u32 length of the header · header (JSON, UTF-8) · payload (bytes)
 *
 * Numbers are big-endian. Nothing here depends on the platform, nor on Node: the runner inside the sandbox uses it, too.
 */

/** Payloads above this go in pieces. */
export const MAX_PAYLOAD_BYTES = 1_048_576;
export const MAX_HEADER_BYTES = 131_072;

const PREFIX_BYTES = 8;
const HEADER_LENGTH_BYTES = 4;
const MAX_FRAME_BYTES = HEADER_LENGTH_BYTES + MAX_HEADER_BYTES + MAX_PAYLOAD_BYTES;

export interface Frame {
  /** Parsed JSON, of any shape: the receiver checks it. */
  readonly header: unknown;
  /** A copy of its own. */
  readonly payload: Uint8Array;
}

/** The other side broke the protocol; nothing it sends afterwards can be trusted. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
export const NO_PAYLOAD = new Uint8Array(0);

/** @throws RangeError when header or payload is larger than a frame may hold: a bug of the caller */
export function encodeFrame(header: object, payload: Uint8Array = NO_PAYLOAD): Uint8Array {
  const head = encoder.encode(JSON.stringify(header));
  if (head.length > MAX_HEADER_BYTES) throw new RangeError(`a header of ${head.length} bytes is too large`);
  if (payload.length > MAX_PAYLOAD_BYTES) {
    throw new RangeError(`a payload of ${payload.length} bytes is too large`);
  }
  const frame = new Uint8Array(PREFIX_BYTES + head.length + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, HEADER_LENGTH_BYTES + head.length + payload.length);
  view.setUint32(4, head.length);
  frame.set(head, PREFIX_BYTES);
  frame.set(payload, PREFIX_BYTES + head.length);
  return frame;
}

export interface FrameDecoder {
  /**
   * Takes the next bytes of the stream and gives the frames that they complete.
   *
   * @throws ProtocolError as soon as the bytes cannot be a frame; the decoder is of no use after that
   */
  push(chunk: Uint8Array): readonly Frame[];
  /** Bytes of a frame that is not complete yet; at most one frame's. */
  readonly pendingBytes: number;
}

export function createFrameDecoder(): FrameDecoder {
  // What is known of the frame being read: its first bytes, until its length is known, then all of it.
  let buffer = new Uint8Array(PREFIX_BYTES);
  let filled = 0;
  let isSized = false;

  const restart = (): void => {
    buffer = new Uint8Array(PREFIX_BYTES);
    filled = 0;
    isSized = false;
  };
  return {
    get pendingBytes() {
      return filled;
    },
    push(chunk) {
      const frames: Frame[] = [];
      for (let at = 0; at < chunk.length;) {
        const taken = Math.min(buffer.length - filled, chunk.length - at);
        buffer.set(chunk.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled < buffer.length) break;
        if (!isSized) {
          const whole = new Uint8Array(sizeOf(buffer));
          whole.set(buffer);
          buffer = whole;
          isSized = true;
          if (filled < buffer.length) continue;
        }
        frames.push(parseFrame(buffer));
        restart();
      }
      return frames;
    },
  };
}

/** Bytes of the whole frame, from its prefix. */
function sizeOf(prefix: Uint8Array): number {
  const view = new DataView(prefix.buffer);
  const length = view.getUint32(0);
  const headerLength = view.getUint32(4);
  if (length > MAX_FRAME_BYTES) throw new ProtocolError(`a frame of ${length} bytes is too large`);
  if (headerLength > MAX_HEADER_BYTES) {
    throw new ProtocolError(`a header of ${headerLength} bytes is too large`);
  }
  const payloadLength = length - HEADER_LENGTH_BYTES - headerLength;
  if (payloadLength < 0) throw new ProtocolError('the header is longer than its frame');
  if (payloadLength > MAX_PAYLOAD_BYTES) {
    throw new ProtocolError(`a payload of ${payloadLength} bytes is too large`);
  }
  return HEADER_LENGTH_BYTES + length;
}

function parseFrame(frame: Uint8Array): Frame {
  const headerEnd = PREFIX_BYTES + new DataView(frame.buffer).getUint32(4);
  return { header: parseHeader(frame.subarray(PREFIX_BYTES, headerEnd)), payload: frame.subarray(headerEnd) };
}

function parseHeader(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (error) {
    throw new ProtocolError('the header is not JSON', { cause: error });
  }
}
