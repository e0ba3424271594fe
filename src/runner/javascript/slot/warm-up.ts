import crypto from 'node:crypto';
import stream from 'node:stream';
import zlib from 'node:zlib';

/**
 * Uses what Deno completes at its first use (classes get their prototypes then), which cannot be done once it is frozen.
 * It is also what makes the first run as fast as the others.
 */
export function warmUp(): void {
  const key = new Uint8Array(16);
  crypto.createHash('sha256').update('').digest('hex');
  crypto.createHmac('sha256', key).update('').digest('hex');
  crypto.createCipheriv('aes-128-cbc', key, key).final();
  crypto.createCipheriv('aes-128-gcm', key, key).final();
  crypto.createDecipheriv('aes-128-gcm', key, key);
  crypto.createSign('sha256').update('');
  crypto.createVerify('sha256').update('');
  crypto.createECDH('prime256v1');
  crypto.createSecretKey(key).export();
  crypto.randomBytes(1);
  crypto.randomUUID();
  for (const create of [zlib.createGzip, zlib.createGunzip, zlib.createDeflate, zlib.createInflate])
    create().destroy();
  zlib.gunzipSync(zlib.gzipSync(key));
  zlib.brotliDecompressSync(zlib.brotliCompressSync(key));
  stream.Readable.from([]).destroy();
  stream.Readable.fromWeb(
    stream.Readable.toWeb(new stream.Readable({ read: () => undefined })) as never,
  ).destroy();
  stream.Writable.toWeb(new stream.Writable());
  stream.pipeline(stream.Readable.from([]), new stream.PassThrough(), () => undefined);
}
