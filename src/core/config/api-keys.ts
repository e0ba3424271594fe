import { z } from '../zod.ts';
import { booleanKey, integerKey, parsedKey, textKey } from './key.ts';
import {
  commonKeys,
  databaseKeys,
  limitKeys,
  redisKeys,
  sandboxLimitKeys,
  secretKeys,
  urlKey,
} from './keys.ts';
import { tracingKeys } from './tracing-keys.ts';

/** All that the API process reads. */
export const apiKeys = {
  ...commonKeys,
  ...databaseKeys,
  ...redisKeys,
  ...limitKeys,
  ...sandboxLimitKeys,
  ...secretKeys,
  ...tracingKeys,
  JWT_SECRET: textKey(
    z.string({ error: 'is required' }).min(32, 'must have at least 32 characters'),
    'Signs what the API hands out to get back, such as list cursors; 32 characters or more, the same on all replicas',
    { secret: true },
  ),
  MILLRACE_BOOTSTRAP_API_KEY: textKey(
    z
      .string()
      .regex(/^[\x21-\x7e]{32,256}$/, 'must be 32 to 256 printable ASCII characters without spaces')
      .optional(),
    'Creates the first API key (owner of the tenant `default`) when the database has none',
    { secret: true },
  ),
  API_PORT: integerKey('Port of the API; 0 takes a free one', { default: 8080, min: 0, max: 65_535 }),
  API_ADMIN_PORT: parsedKey<number | undefined>(
    'Port of `/health` and `/metrics`, which API_PORT then answers with 404; 0 takes a free one',
    (text) => {
      if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
      throw new Error(`must be a whole number from 0 to 65535, got ${JSON.stringify(text)}`);
    },
    { optional: true, defaultText: 'the value of API_PORT' },
  ),
  PUBLIC_URL: urlKey('How the API is reached from outside', { defaultText: 'http://localhost:<API_PORT>' }),
  PUBLIC_HOOKS_URL: urlKey('How `/hooks/` is reached from outside, where that differs', {
    defaultText: 'the value of PUBLIC_URL',
  }),
  CORS_ALLOWED_ORIGINS: parsedKey<readonly string[]>(
    'Origins, comma separated, whose pages may call the API from a browser',
    (text) =>
      text
        .split(',')
        .map((origin) => origin.trim())
        .filter((origin) => origin !== '')
        .map((origin) => {
          if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
            throw new Error(`${JSON.stringify(origin)} is no origin; write scheme://host[:port]`);
          }
          return origin;
        }),
    { default: '', defaultText: 'none' },
  ),
  FEATURE_WEBHOOK_REPLAY: booleanKey('Whether deliveries may be replayed', { default: true }),
  WEBHOOK_MAX_BODY_BYTES: integerKey('Largest webhook body, after decompression', {
    default: 1_048_576,
    min: 1024,
    max: 67_108_864,
  }),
  RATE_LIMIT_PER_ENDPOINT: integerKey(
    'Webhooks a second that one endpoint takes, on each replica; 0 is no limit',
    {
      default: 0,
      min: 0,
      max: 1_000_000,
    },
  ),
  RATE_LIMIT_PER_TENANT: integerKey(
    'Webhooks a second that one tenant sends, on each replica; 0 is no limit',
    {
      default: 0,
      min: 0,
      max: 1_000_000,
    },
  ),
  MAX_BACKLOG: integerKey('Waiting executions from which on webhooks are shed with 503', {
    default: 2_000_000,
    min: 1,
    max: 1_000_000_000,
  }),
} as const;
