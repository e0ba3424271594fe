import type { CodeStep } from '../support/attack-platform.ts';

/** A step that does what steps do: given `{n}`, it gives `{n, doubled, hash}`. */
export const goodStep = (language: 'javascript' | 'python'): CodeStep => ({
  language,
  source: SOURCES[language],
});

const SOURCES = {
  javascript: `
export default async (ctx, input) => {
  ctx.log.info('working on ' + input.n);
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(String(input.n)));
  await new Promise((resolve) => setTimeout(resolve, 5));
  return { n: input.n, doubled: input.n * 2, hash: [...new Uint8Array(digest)].slice(0, 4) };
};
`,
  python: `
import hashlib

def run(ctx, input):
    ctx.log.info("working on %d" % input["n"])
    return {"n": input["n"], "doubled": input["n"] * 2, "hash": list(hashlib.sha256(str(input["n"]).encode()).digest()[:4])}
`,
} as const;

/** The value below which a part of them lies. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
