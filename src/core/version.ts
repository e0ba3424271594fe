import { readFileSync } from 'node:fs';

/** The release, as package.json names it; that file lies above src/ as well as above dist/. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  }
).version;
