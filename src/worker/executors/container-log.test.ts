import { describe, expect, test } from 'vitest';
import { createRedactor, NO_REDACTION, type Redactor } from '../../core/credentials/redact.ts';
import { createLineLog } from './container-log.ts';

const MAX_BYTES = 10_000;

function logOf(
  chunks: readonly (string | Buffer)[],
  { maxBytes = MAX_BYTES, redactor = NO_REDACTION }: { maxBytes?: number; redactor?: Redactor } = {},
): { readonly lines: readonly string[]; readonly markers: readonly string[]; readonly last: string } {
  const lines: string[] = [];
  const markers: string[] = [];
  const log = createLineLog(maxBytes, redactor, (text, truncated) =>
    (truncated ? markers : lines).push(text),
  );
  for (const chunk of chunks) log.write(Buffer.from(chunk));
  log.finish();
  return { lines, markers, last: log.lastLines() };
}

describe('a log of lines', () => {
  test.each<[string, readonly (string | Buffer)[], readonly string[]]>([
    ['lines, however they come', ['on', 'e\ntw', 'o\n', '\nfour'], ['one', 'two', '', 'four']],
    ['lines of Windows', ['one\r\ntwo\r\n'], ['one', 'two']],
    ['a character that comes in two pieces', [Buffer.from([0xc3]), Buffer.from([0xa4, 0x0a])], ['ä']],
    ['bytes that are no text, as signs for them', [Buffer.from([0x61, 0xff, 0x0a])], ['a\u{fffd}']],
    ['nothing', [], []],
  ])('has %s', (_, chunks, lines) => {
    expect(logOf(chunks)).toMatchObject({ lines, markers: [] });
  });

  test('is passed on while it is written', () => {
    const lines: string[] = [];
    const log = createLineLog(MAX_BYTES, NO_REDACTION, (text) => lines.push(text));
    log.write(Buffer.from('one\ntw'));
    expect(lines).toEqual(['one']);
  });

  test('keeps its beginning and its end, and says what is missing', () => {
    const all = Array.from({ length: 1000 }, (_, index) => `line ${index}`);
    const { lines, markers } = logOf([`${all.join('\n')}\n`]);
    const cut = lines.findIndex((line, index) => line !== `line ${index}`);
    expect(lines.slice(0, cut)).toEqual(all.slice(0, cut));
    expect(lines.slice(cut)).toEqual(all.slice(cut - lines.length));
    expect(lines.length).toBeLessThan(1000);
    const lost = all.slice(cut, cut - lines.length);
    expect(markers).toEqual([
      expect.stringMatching(
        `^${lost.length} lines \\(${lost.join('').length} bytes\\) were left out.*10000 bytes in all$`,
      ),
    ]);
    const cost = lines.reduce((sum, line) => sum + line.length + 64, 0);
    expect(cost).toBeGreaterThan(MAX_BYTES * 0.9);
    expect(cost).toBeLessThanOrEqual(MAX_BYTES);
  });

  test('holds no more of a line than an entry may have', () => {
    const { lines } = logOf(
      Array.from({ length: 100 }, () => 'x'.repeat(10_000)),
      { maxBytes: 1_000_000 },
    );
    expect(lines).toEqual([`${'x'.repeat(16_384)}… [cut, 983616 more bytes]`]);
  });

  test('masks secrets, also over chunks and lines', () => {
    const redactor = createRedactor(['first half\nsecond half', 'token-12345', '7']);
    const { lines, last } = logOf(['a tok', 'en-12345 b\nfirst half\nsec', 'ond half\npin 7\nend'], {
      redactor,
    });
    expect(lines).toEqual(['a [redacted] b', '[redacted]', 'pin [redacted]', 'end']);
    expect(last).toBe('a [redacted] b\n[redacted]\npin [redacted]\nend');
  });

  test('gives the last lines for a message, not more than one takes', () => {
    expect(logOf(['1\n2\n3\n4\n5\n6\n7\n']).last).toBe('3\n4\n5\n6\n7');
    expect(logOf([`${'x'.repeat(5000)}\nend\n`]).last).toMatch(/^x{996}\nend$/);
  });
});
