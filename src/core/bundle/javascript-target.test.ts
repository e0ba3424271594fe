import { builtinModules } from 'node:module';
import { describe, expect, it } from 'vitest';
import { IMPORTABLE_BUILTINS, JAVASCRIPT_BUILD_OPTIONS, USABLE_BUILTINS } from './javascript-target.ts';

describe('the target of bundles', () => {
  it('names each module once', () => {
    const all = [...USABLE_BUILTINS, ...IMPORTABLE_BUILTINS];
    expect(new Set(all).size).toBe(all.length);
  });

  it('leaves every module of Node outside of bundles, in both spellings', () => {
    // `constants` and `_…` are deprecated; tests are not run in steps.
    const known = builtinModules.filter((name) => !/^(?:node:|_)|^constants$|^test/.test(name));
    const { external } = JAVASCRIPT_BUILD_OPTIONS;
    expect(
      known.flatMap((name) => [name, `node:${name}`]).filter((name) => !external.includes(name)),
    ).toEqual([]);
  });
});
