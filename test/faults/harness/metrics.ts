import assert from 'node:assert/strict';
import type { Actor } from './stage.ts';

/** What a process tells of itself: the sum of all samples whose name (and labels, as they are written) begin so. */
export async function readMetric(actor: Actor, begin: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${actor.port}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(begin));
  assert.ok(
    lines.length > 0 || text.includes(`# TYPE ${begin.split('{', 1)[0]} `),
    `there is no metric ${begin}`,
  );
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Hints with this outcome, so far. */
export const hintsOf = (
  actor: Actor,
  outcome: 'published' | 'failed' | 'dropped' | 'received',
): Promise<number> => readMetric(actor, `millrace_hints_total{outcome="${outcome}"}`);
