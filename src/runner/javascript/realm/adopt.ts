/** Prototypes of this realm by the name that their objects go by. */
const PROTOTYPES: Readonly<Record<string, object>> = {
  Object: Object.prototype,
  Array: Array.prototype,
  Map: Map.prototype,
  Set: Set.prototype,
  Date: Date.prototype,
  RegExp: RegExp.prototype,
  Error: Error.prototype,
  EvalError: EvalError.prototype,
  RangeError: RangeError.prototype,
  ReferenceError: ReferenceError.prototype,
  SyntaxError: SyntaxError.prototype,
  TypeError: TypeError.prototype,
  URIError: URIError.prototype,
};

/**
 * Makes the objects of a structured clone, which the slot's realm has made, ones of this realm: `{}` and its clone are
 * to have the same prototype.
 */
export function adoptClone(clone: unknown): unknown {
  const seen = new Set<object>();
  const waiting = [clone];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value !== 'object' || value === null || seen.has(value)) continue;
    seen.add(value);
    const prototype = prototypeOf(value);
    if (prototype === undefined) continue;
    Object.setPrototypeOf(value, prototype);
    for (const key of Object.keys(value)) waiting.push((value as Record<string, unknown>)[key]);
    if (value instanceof Map) for (const entry of value) waiting.push(...entry);
    else if (value instanceof Set) waiting.push(...value);
    else if (value instanceof Error) waiting.push(value.cause);
  }
  return clone;
}

function prototypeOf(value: object): object | undefined {
  const foreign = Object.getPrototypeOf(value) as {
    readonly constructor?: { readonly name?: unknown };
  } | null;
  const name = foreign?.constructor?.name;
  return typeof name === 'string' && Object.hasOwn(PROTOTYPES, name) ? PROTOTYPES[name] : undefined;
}
