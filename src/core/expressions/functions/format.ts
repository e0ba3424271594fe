import { fail } from '../failure.ts';
import { type Frame, makeCost, spend } from '../frame.ts';
import { toJsonValue } from '../json-value.ts';
import { describeKinds, kindOf } from '../kinds.ts';
import { listIndex } from '../values.ts';

const MAX_PRECISION = 100;

/**
 * CEL's `format`: `%s` any value, `%d` a whole number, `%f` and `%e` a number with a precision (`%.2f`), `%b`, `%o`,
 * `%x`, `%X` a whole number in another base (`%x` of a string or bytes: its bytes), `%%` a percent sign.
 */
export function format(frame: Frame, pattern: string, items: readonly unknown[]): string {
  spend(frame, makeCost(pattern.length));
  let next = 0;
  const text = pattern.replace(
    /%(?:\.(\d+))?(.?)/gs,
    (_clause, precision: string | undefined, verb: string) => {
      if (verb === '%') return '%';
      if (next >= items.length)
        fail(`format() has more clauses than the ${items.length} items it was given.`);
      const part = formatItem(frame, verb, precision, items[next]);
      next += 1;
      spend(frame, makeCost(part.length));
      return part;
    },
  );
  if (next < items.length) fail(`format() was given ${items.length} items for ${next} clauses.`);
  return text;
}

function formatItem(frame: Frame, verb: string, precision: string | undefined, item: unknown): string {
  switch (verb) {
    case 's':
      return formatAny(frame, item);
    case 'd':
      return String(whole(item, verb));
    case 'f':
      return decimal(item, verb).toFixed(digits(precision));
    case 'e':
      // CEL writes two digits of exponent at least, as Go and C do.
      return decimal(item, verb)
        .toExponential(digits(precision))
        .replace(/e([+-])(\d)$/, 'e$10$2');
    case 'b':
      return typeof item === 'boolean' ? (item ? '1' : '0') : whole(item, verb).toString(2);
    case 'o':
      return whole(item, verb).toString(8);
    case 'x':
      return hexadecimal(item, verb);
    case 'X':
      return hexadecimal(item, verb).toUpperCase();
    default:
      return fail(`format() knows %s %d %f %e %b %o %x %X and %%, not "%${verb}".`);
  }
}

function formatAny(frame: Frame, item: unknown): string {
  const value = toJsonValue(item, frame.limits.maxOutputBytes);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function hexadecimal(item: unknown, verb: string): string {
  if (typeof item === 'string') return Buffer.from(item).toString('hex');
  if (item instanceof Uint8Array) return Buffer.from(item).toString('hex');
  return whole(item, verb).toString(16);
}

function whole(item: unknown, verb: string): bigint {
  if (typeof item === 'bigint') return item;
  const number = listIndex(item);
  return number === undefined ? mismatch('a whole number', item, verb) : BigInt(number);
}

function decimal(item: unknown, verb: string): number {
  if (typeof item === 'number' || typeof item === 'bigint') return Number(item);
  return mismatch('a number', item, verb);
}

const mismatch = (wanted: string, item: unknown, verb: string): never =>
  fail(`format() needs ${wanted} for %${verb}, got ${describeKinds(kindOf(item))}.`);

function digits(precision: string | undefined): number {
  const count = precision === undefined ? 6 : Number(precision);
  return count <= MAX_PRECISION ? count : fail(`format() takes a precision of up to ${MAX_PRECISION}.`);
}
