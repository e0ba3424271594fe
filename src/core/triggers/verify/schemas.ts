import { z } from '../../zod.ts';
import { credentialNameSchema } from '../../credentials/types.ts';
import { parseTemplate, templateProblem } from './template.ts';

/** The schemes this release verifies. */
export const VERIFY_SCHEMES = ['github', 'stripe', 'slack', 'standard-webhooks', 'hmac', 'none'] as const;
export type VerifyScheme = (typeof VERIFY_SCHEMES)[number];

/** Schemes that are planned: asking for one is `not_supported`, not an unknown name. */
export const KNOWN_SCHEMES_NOT_YET = [
  'gitlab',
  'shopify',
  'twilio',
  'linear',
  'pagerduty',
  'aws-sns',
  'meta',
  'zoom',
  'discord',
  'basic',
  'api-key',
  'jwt',
] as const;

/** The widest difference, either way, between a signed timestamp and our clock. */
export const MAX_TOLERANCE_S = 300;

const credential = credentialNameSchema.describe(
  'Name of the `secret` credential that holds the signing secret',
);

const headerName = z
  .string()
  .max(128, 'must be at most 128 characters')
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, 'must be a header name, e.g. `X-Signature`');

export const githubVerifySchema = z
  .strictObject({ scheme: z.literal('github'), credential })
  .describe('GitHub: X-Hub-Signature-256');

export const stripeVerifySchema = z
  .strictObject({ scheme: z.literal('stripe'), credential })
  .describe('Stripe: Stripe-Signature, v1');

export const slackVerifySchema = z
  .strictObject({ scheme: z.literal('slack'), credential })
  .describe('Slack: X-Slack-Signature, v0; answers url_verification');

export const standardWebhooksVerifySchema = z
  .strictObject({ scheme: z.literal('standard-webhooks'), credential })
  .describe('Standard Webhooks (Svix, OpenAI, Clerk …): a `whsec_` secret or a `whpk_` public key');

export const hmacVerifySchema = z
  .strictObject({
    scheme: z.literal('hmac'),
    credential,
    header: headerName.describe('The header that carries the signature'),
    algorithm: z.enum(['sha256', 'sha1', 'sha512']).default('sha256').describe('Hash of the HMAC'),
    template: z
      .string()
      .max(256, 'must be at most 256 characters')
      .default('{body}')
      .describe('What is signed: text with `{body}`, and if wanted `{timestamp}` and `{id}`'),
    encoding: z.enum(['hex', 'base64']).default('hex').describe('How the signature is written'),
    prefix: z
      .string()
      .max(64, 'must be at most 64 characters')
      .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
      .default('')
      .describe('Text before the signature in its header, e.g. `sha256=`'),
    timestampHeader: headerName
      .optional()
      .describe('The header with the Unix time in seconds that `{timestamp}` stands for'),
    toleranceS: z
      .number()
      .int()
      .min(1)
      .max(MAX_TOLERANCE_S)
      .default(MAX_TOLERANCE_S)
      .describe('How far the timestamp may be from our clock, in seconds'),
    idHeader: headerName
      .optional()
      .describe('The header with the delivery’s id: the dedupe key, and what `{id}` stands for'),
  })
  .superRefine((config, context) => {
    const parts = parseTemplate(config.template);
    const problem = templateProblem(parts);
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['template'], message: problem });
    for (const [placeholder, key] of [
      ['timestamp', 'timestampHeader'],
      ['id', 'idHeader'],
    ] as const) {
      if (parts.some((part) => part.placeholder === placeholder) && config[key] === undefined) {
        context.addIssue({
          code: 'custom',
          path: [key],
          message: `is needed, because the template has {${placeholder}}`,
        });
      }
    }
    if (config.timestampHeader !== undefined && !parts.some((part) => part.placeholder === 'timestamp')) {
      context.addIssue({
        code: 'custom',
        path: ['template'],
        message:
          'must contain {timestamp} when there is a timestampHeader: an unsigned timestamp protects from nothing',
      });
    }
  })
  .describe('An HMAC over the body, in whatever way the sender writes it');

export const noneVerifySchema = z
  .strictObject({ scheme: z.literal('none') })
  .describe('No check at all: whoever knows the URL can start this workflow');

/** `verify` of a webhook trigger. */
export const verifySchema = z.discriminatedUnion('scheme', [
  githubVerifySchema,
  stripeVerifySchema,
  slackVerifySchema,
  standardWebhooksVerifySchema,
  hmacVerifySchema,
  noneVerifySchema,
]);

export type VerifyConfig = z.infer<typeof verifySchema>;
export type HmacVerifyConfig = z.infer<typeof hmacVerifySchema>;
