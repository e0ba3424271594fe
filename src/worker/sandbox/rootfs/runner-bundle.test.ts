import { describe, expect, it } from 'vitest';
import { bundleJavaScriptRunner } from './runner-bundle.ts';

describe('the JavaScript runner', () => {
  it('is one module that needs nothing but Node’s own', async () => {
    const text = await bundleJavaScriptRunner();
    const imported = [...text.matchAll(/\bfrom\s*"([^"]+)"/g)].map(([, name]) => name);
    expect(imported).not.toEqual([]);
    expect(imported.filter((name) => !name?.startsWith('node:'))).toEqual([]);
    expect(text).not.toContain('embedded:');
  });

  it('is small, and holds no schema library', async () => {
    const text = await bundleJavaScriptRunner();
    expect(text.length).toBeLessThan(100_000);
    expect(text).not.toContain('discriminatedUnion');
  });

  it('is the same each time', async () => {
    expect(await bundleJavaScriptRunner()).toBe(await bundleJavaScriptRunner());
  });
});
