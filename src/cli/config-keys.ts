import { z } from '../core/zod.ts';
import { textKey } from '../core/config/key.ts';
import { urlKey } from '../core/config/keys.ts';

export const dataDirectoryKeys = {
  MILLRACE_DATA_DIR: textKey(
    z.string().default('.millrace'),
    'Where the embedded platform keeps its database, secrets and lock; the command line finds the running one there',
    { defaultText: '.millrace' },
  ),
} as const;

/** What the commands that talk to an API read. */
export const clientKeys = {
  ...dataDirectoryKeys,
  MILLRACE_URL: urlKey('The API that the command line talks to; `--url` wins', {
    defaultText: 'the platform that runs on MILLRACE_DATA_DIR',
  }),
  MILLRACE_API_KEY: textKey(
    z
      .string()
      .regex(/^[\x21-\x7e]{32,256}$/, 'must be 32 to 256 printable ASCII characters without spaces')
      .optional(),
    'The API key that the command line sends; `--api-key` wins',
    { secret: true, defaultText: 'for the platform on MILLRACE_DATA_DIR, the key in its secrets.json' },
  ),
} as const;
