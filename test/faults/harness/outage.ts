import assert from 'node:assert/strict';
import { waitFor } from '../../support/wait-for.ts';
import type { Load, Span } from './load.ts';

/** While a fault lasts for seconds: enough to see what senders get, few enough not to drown the rest. */
export const OUTAGE_PACE = 10;
const USUAL_PACE = 200;
/** Above what the checker asks of a whole row. */
const WANTED_RATE = 0.92;

/** Sends little while `work` goes on. */
export function duringOutage(load: Load, work: () => Promise<void>): Promise<Span> {
  load.pace(OUTAGE_PACE);
  return load.during(work);
}

/** After healing: back to the usual pace, until so much was accepted that the outage is a small part of the row. */
export async function recovered(load: Load, perSecond: number = USUAL_PACE): Promise<void> {
  load.pace(perSecond);
  await waitFor(() => load.sent.at(-1)?.outcome === 'ok', {
    timeoutMs: 60_000,
    what: 'a request to be accepted again',
  });
  await waitFor(
    () => load.sent.filter(({ outcome }) => outcome === 'ok').length > load.sent.length * WANTED_RATE,
    {
      timeoutMs: 60_000,
      what: 'most requests to be accepted again',
    },
  );
}

/** Every answer of the span is one of these. */
export function assertAnswers(span: Span, allowed: readonly string[]): void {
  assert.deepEqual(
    Object.keys(span.answers).filter((answer) => !allowed.includes(answer)),
    [],
    `answers were ${JSON.stringify(span.answers)}, allowed are ${allowed.join(', ')}`,
  );
}

/** 503 came, with an integer Retry-After each time. @returns how many */
export function assertRefused(span: Span): number {
  const refused = span.sent.filter(({ answer }) => answer === 503);
  assert.ok(refused.length > 0, `nothing was answered 503: ${JSON.stringify(span.answers)}`);
  const without = refused.filter(({ retryAfter }) => !/^\d+$/.test(retryAfter ?? ''));
  assert.equal(without.length, 0, 'each 503 has to carry a Retry-After');
  return refused.length;
}

/** For evidence: `12 × 503, 300 × 202`. */
export const answersOf = (span: Span): string =>
  Object.entries(span.answers)
    .map(([answer, count]) => `${count} × ${answer}`)
    .join(', ');
