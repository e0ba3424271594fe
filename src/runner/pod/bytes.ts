import type { Connection } from './deno.ts';

const READ_BYTES = 65_536;

/** Hands on what comes, piece by piece, until the other side ends. A piece is valid until its promise resolves. */
export async function readAll(
  connection: Connection,
  onBytes: (bytes: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  for (;;) {
    const length = await connection.read(buffer);
    if (length === null) return;
    await onBytes(buffer.subarray(0, length));
  }
}

export async function writeAll(connection: Connection, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
