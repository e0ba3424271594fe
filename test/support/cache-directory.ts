import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where this machine keeps what Millrace makes or installs once, by the XDG Base Directory Specification. */
export const cacheDirectory = (): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'millrace');
