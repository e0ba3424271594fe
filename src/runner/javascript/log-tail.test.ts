import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LOG_ENTRY_COST_BYTES, LOG_LEVELS } from './limits.ts';
import { createLogTail, readLogTail } from './log-tail.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);

describe('the tail of a log', () => {
  it('gives back what fits', () => {
    const tail = createLogTail(1000);
    tail.write('info', bytes('one'));
    tail.write('error', bytes('two'));
    const { entries, leftOut } = readLogTail(tail.ring);
    expect(entries.map((entry) => [entry.level, text(entry.text)])).toEqual([
      ['info', 'one'],
      ['error', 'two'],
    ]);
    expect(leftOut).toBe(0);
  });

  it('is the end of what was written, within its size, and counts the rest', () => {
    const entry = fc.record({ level: fc.constantFrom(...LOG_LEVELS), size: fc.nat({ max: 300 }) });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.array(entry, { maxLength: 40 }),
        (maxBytes, written) => {
          const tail = createLogTail(maxBytes);
          const all = written.map(({ level, size }, index) => {
            const content = bytes(`${index}`.padEnd(size, '·'));
            tail.write(level, content);
            return { level, text: text(content), cost: content.length + LOG_ENTRY_COST_BYTES };
          });
          const { entries, leftOut } = readLogTail(tail.ring);
          const fitting = all.filter(({ cost }) => cost <= maxBytes);
          let room = maxBytes;
          const expected = fitting
            .toReversed()
            .filter(({ cost }) => (room = room < 0 ? room : room - cost) >= 0);
          expect(entries.map((entry) => [entry.level, text(entry.text)])).toEqual(
            expected.toReversed().map((entry) => [entry.level, entry.text]),
          );
          expect(leftOut).toBe(all.length - entries.length);
        },
      ),
    );
  });

  it('can be read whatever is in it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (content) => {
        const ring = new SharedArrayBuffer(content.length);
        new Uint8Array(ring).set(content);
        const { entries } = readLogTail(ring);
        expect(entries.reduce((sum, entry) => sum + entry.text.length, 0)).toBeLessThanOrEqual(
          content.length,
        );
      }),
    );
  });
});
