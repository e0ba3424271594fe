import type { Failure } from '../messages.ts';

type Path = readonly (string | number)[];

/** Kept before the program can put its own in place: what a run sends is to be JSON. */
const { stringify } = JSON;

/**
 * The output of a run as JSON.
 *
 * @throws InvalidOutput with a message that says where in the output the trouble is
 */
export function toJson(output: unknown): string {
  if (output === undefined) return 'null';
  if (typeof output === 'function' || typeof output === 'symbol') {
    throw new InvalidOutput(`The output is a ${typeof output}. ${REMEDY}`);
  }
  let json: string | undefined;
  try {
    json = stringify(output);
  } catch (error) {
    throw explain(output, error);
  }
  if (typeof json !== 'string') throw new InvalidOutput(`The output has no JSON. ${REMEDY}`);
  return json;
}

const REMEDY = 'Return objects, lists, strings, numbers, booleans and null.';

export class InvalidOutput extends Error {
  override readonly name = 'InvalidOutput';

  failure(): Failure {
    return { failure: 'invalid_output', detail: { name: this.name, message: this.message } };
  }
}

/** Stringifies once more, keeping track of where it is. */
function explain(output: unknown, error: unknown): InvalidOutput {
  const paths = new Map<unknown, Path>();
  const open: unknown[] = [];
  let at: Path = [];
  let found: string | undefined;
  try {
    stringify(output, function (this: unknown, key: string, value: unknown) {
      at = pathOf(paths.get(this), this, key);
      while (open.length > 0 && open.at(-1) !== this) open.pop();
      if (typeof value === 'bigint') {
        found = `${show(at)} is a BigInt. Return it as a string, or as a number.`;
        return null;
      }
      if (typeof value !== 'object' || value === null) return value;
      if (open.includes(value)) {
        found ??= `${show(at)} is ${show(paths.get(value) ?? [])} again: JSON has no cycles. ${REMEDY}`;
        return null;
      }
      paths.set(value, at);
      open.push(value);
      return value;
    });
  } catch (raw) {
    return new InvalidOutput(
      `JSON cannot be made of the output; the error came after ${show(at)}: ${word(raw)}`,
    );
  }
  return new InvalidOutput(found ?? `JSON cannot be made of the output: ${word(error)}`);
}

/** The holder of the output itself is an object of `JSON.stringify`, with the key ''. */
const pathOf = (holder: Path | undefined, object: unknown, key: string): Path =>
  holder === undefined ? [] : [...holder, Array.isArray(object) ? Number(key) : key];

const show = (path: Path): string =>
  path.reduce<string>(
    (shown, key) =>
      typeof key === 'number'
        ? `${shown}[${key}]`
        : /^[\w$]+$/.test(key)
          ? `${shown}.${key}`
          : `${shown}[${JSON.stringify(key)}]`,
    'output',
  );

function word(raw: unknown): string {
  try {
    return raw instanceof Error ? `${raw.name}: ${raw.message}` : String(raw);
  } catch {
    return 'an error that cannot be read';
  }
}
