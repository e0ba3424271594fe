import { createHmac } from 'node:crypto';

const hmac = (secret: string | Buffer, data: string | Buffer, encoding: 'hex' | 'base64') =>
  createHmac('sha256', secret).update(data).digest(encoding);

export const SECRET = 'a secret for tests only';
/** Standard Webhooks keys are base64 after `whsec_`. */
export const WHSEC = `whsec_${Buffer.from('twenty-four bytes of key').toString('base64')}`;

/** The headers with which each provider signs `body`, as its documentation says (SECURITY.md section 1). */
export const SIGNERS = {
  github: (body: Buffer, id: string) => ({
    'x-github-event': 'push',
    'x-github-delivery': id,
    'x-hub-signature-256': `sha256=${hmac(SECRET, body, 'hex')}`,
  }),
  stripe: (body: Buffer, _id: string, nowS: number) => ({
    'stripe-signature': `t=${nowS},v1=${hmac(SECRET, `${nowS}.${body.toString('latin1')}`, 'hex')}`,
  }),
  slack: (body: Buffer, _id: string, nowS: number) => ({
    'x-slack-request-timestamp': String(nowS),
    'x-slack-signature': `v0=${hmac(SECRET, `v0:${nowS}:${body.toString('latin1')}`, 'hex')}`,
  }),
  'standard-webhooks': (body: Buffer, id: string, nowS: number) => ({
    'webhook-id': id,
    'webhook-timestamp': String(nowS),
    'webhook-signature': `v1,${hmac(
      Buffer.from(WHSEC.slice('whsec_'.length), 'base64'),
      `${id}.${nowS}.${body.toString('latin1')}`,
      'base64',
    )}`,
  }),
} as const;
export type SignedScheme = keyof typeof SIGNERS;
