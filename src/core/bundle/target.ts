import type { JavascriptTarget } from './esbuild.ts';

export const JAVASCRIPT_TARGET: JavascriptTarget = {
  platform: 'node',
  target: 'es2024',
  conditions: ['node', 'import', 'default'],
  mainFields: ['module', 'main'],
  define: {},
  builtins: ['buffer', 'crypto', 'events', 'path', 'stream', 'string_decoder', 'url', 'util'],
};
