import { describe, expect, it } from 'vitest';
import { loaderOf, resolveImport, type ResolveContext } from './resolve.ts';

const files = new Set([
  'steps/a.ts',
  'steps/b.js',
  'lib/c.mts',
  'lib/index.ts',
  'data.json',
  'x.tsx',
  'lib/x/index.js',
]);
const context: ResolveContext = {
  hasFile: (path) => files.has(path),
  isBuiltin: (name) => ['fs', 'fs/promises', 'crypto'].includes(name),
};

describe('resolveImport', () => {
  it.each([
    ['./b', 'steps/b.js'],
    ['./b.js', 'steps/b.js'],
    ['./a.js', 'steps/a.ts'],
    ['../lib/c.mjs', 'lib/c.mts'],
    ['../lib/c', 'lib/c.mts'],
    ['../lib', 'lib/index.ts'],
    ['../lib/', 'lib/index.ts'],
    ['../lib/x', 'lib/x/index.js'],
    ['../data.json', 'data.json'],
    ['../data', 'data.json'],
    ['../x.js', 'x.tsx'],
    ['.././lib//c', 'lib/c.mts'],
  ])('finds %s', (specifier, path) => {
    expect(resolveImport(context, 'steps/a.ts', specifier)).toEqual({ type: 'file', path });
  });

  it.each([
    ['./nope', { type: 'missing', path: 'steps/nope' }],
    ['.', { type: 'missing', path: 'steps' }],
    ['../../b', { type: 'outside' }],
    ['../..', { type: 'outside' }],
    ['/etc/passwd', { type: 'outside' }],
    ['fs', { type: 'builtin', name: 'fs' }],
    ['node:fs/promises', { type: 'builtin', name: 'fs/promises' }],
    ['node:nope', { type: 'builtin', name: 'nope' }],
    ['lodash', { type: 'package' }],
    ['@scope/name/deep', { type: 'package' }],
    ['#internal', { type: 'package' }],
    ['constructor', { type: 'package' }],
    ['https://example.com/x.js', { type: 'url' }],
    ['file:///etc/passwd', { type: 'url' }],
  ])('tells what %s is', (specifier, resolution) => {
    expect(resolveImport(context, 'steps/a.ts', specifier)).toEqual(resolution);
  });
});

it('loaderOf knows what JavaScript can import', () => {
  expect(['a.ts', 'b.cjs', 'c.json', 'd.txt', 'e.py', 'f'].map(loaderOf)).toEqual([
    'ts',
    'js',
    'json',
    'text',
    undefined,
    undefined,
  ]);
});
