import { createHmac, randomBytes } from 'node:crypto';

/** The size that the peers were measured with. */
export const BODY_BYTES = 430;

export interface SignedBody {
  readonly body: Buffer;
  /** Of `X-Hub-Signature-256`. */
  readonly signature: string;
}

/** A push-like JSON document of exactly {@link BODY_BYTES} bytes; every `n` gives another one. */
export function makeBody(n: number): Buffer {
  const document = {
    ref: 'refs/heads/main',
    before: n.toString(16).padStart(40, '0'),
    after: (n * 7919).toString(16).padStart(40, 'a'),
    number: n % 1000,
    repository: { id: 186_853_002, full_name: 'millrace/example', private: false },
    pusher: { name: 'octo', email: 'octo@example.com' },
    head_commit: { message: 'Keep the wheel turning', timestamp: '2026-01-02T03:04:05Z', added: ['a.ts'] },
    padding: '',
  };
  const padding = 'x'.repeat(BODY_BYTES - Buffer.byteLength(JSON.stringify(document)));
  return Buffer.from(JSON.stringify({ ...document, padding }));
}

/** Bodies with GitHub's HMAC-SHA256, made before the load so that signing them is no part of it. */
export function makeSignedBodies(secret: string, count: number): readonly SignedBody[] {
  return Array.from({ length: count }, (_, n) => {
    const body = makeBody(n);
    return { body, signature: `sha256=${createHmac('sha256', secret).update(body).digest('hex')}` };
  });
}

/** Headers as GitHub sends them. The delivery's id is unique: it is what deduplication goes by. */
export function createHeaders(): (signed: SignedBody) => Record<string, string> {
  const run = randomBytes(8).toString('hex');
  let sent = 0;
  return ({ signature }) => ({
    'content-type': 'application/json',
    'user-agent': 'GitHub-Hookshot/044aadd',
    'x-github-event': 'push',
    'x-github-delivery': `${run}-${(sent++).toString(16).padStart(8, '0')}`,
    'x-hub-signature-256': signature,
  });
}
