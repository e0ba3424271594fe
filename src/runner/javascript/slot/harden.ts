import { types } from 'node:util';

/**
 * What contexts are given belongs to the slot's realm and outlives them. It is frozen, with all that can be reached from
 * it, so that no run can change it for the next; and no function of it makes code from strings, so that
 * `URL.constructor('return this')()` does not lead here. (Wall it is none: gVisor and Deno's lack of permissions are.)
 *
 * Freezing a prototype would forbid objects that inherit from it to have a property of the same name by assignment (the
 * "override mistake"): such properties become accessors that look like the data they were, as in Hardened JavaScript (SES).
 */

type Target = Record<PropertyKey, unknown>;

/** Of the language's own prototypes only what code is known to override; the rest stays plain, and fast. */
const OVERRIDDEN: readonly (readonly [object, readonly string[] | '*'])[] = [
  [Object.prototype, '*'],
  [Function.prototype, ['constructor', 'name', 'length', 'bind', 'toString', 'call', 'apply']],
  [Array.prototype, ['constructor', 'toString', 'concat', 'push', 'map', 'length']],
  [Promise.prototype, ['constructor']],
  [Error.prototype, ['constructor', 'name', 'message', 'toString']],
  ...[EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError].map(
    (type) => [type.prototype, ['constructor', 'name', 'message']] as const,
  ),
];

/** Functions that make functions from strings. */
const FUNCTION_MAKERS: readonly Function[] = [
  function plain() {},
  function* generator() {},
  async function asynchronous() {},
  async function* asyncGenerator() {},
];

/** @returns what puts back the few properties that cannot be frozen */
export function harden(roots: readonly unknown[]): () => void {
  const ofLanguage = new Set<object>(classesOfLanguage());
  for (const sample of FUNCTION_MAKERS) forbidCode(sample);
  const reachable = reach(roots);
  for (const [prototype, names] of OVERRIDDEN) {
    for (const name of names === '*' ? Reflect.ownKeys(prototype) : names) {
      allowOverride(prototype as Target, name);
    }
  }
  const inherited = new Set(
    [...reachable].filter((object) => !ofLanguage.has(object) && isInherited(object)),
  );
  for (const object of inherited) {
    for (const name of Reflect.ownKeys(object)) allowOverride(object as Target, name);
  }
  const restores = [...reachable].flatMap((object) => freeze(object as Target, inherited.has(object)));
  return () => {
    for (const restore of restores) restore();
  };
}

function forbidCode(sample: Function): void {
  const prototype = Object.getPrototypeOf(sample) as object;
  const constructor = function Function(): never {
    throw new TypeError('this function cannot make code from strings; the context has one that can');
  };
  constructor.prototype = prototype;
  Object.defineProperty(prototype, 'constructor', { value: constructor, writable: true, configurable: true });
}

/** Prototypes of the language, on which accessors for everything would cost all code of this realm. */
function classesOfLanguage(): object[] {
  const names =
    /^(?:[A-Z]\w*Array|ArrayBuffer|SharedArrayBuffer|DataView|Map|Set|Weak\w+|Date|RegExp|String|Number|Boolean|Symbol|BigInt|Proxy|Iterator|FinalizationRegistry|Object|Function|Array|Promise|\w*Error)$/;
  return Object.getOwnPropertyNames(globalThis)
    .filter((name) => names.test(name))
    .flatMap((name) => {
      const type = (globalThis as unknown as Target)[name] as { readonly prototype?: object } | undefined;
      return type?.prototype === undefined ? [type ?? {}] : [type, type.prototype];
    });
}

function reach(roots: readonly unknown[]): Set<object> {
  const seen = new Set<object>();
  const waiting = [...roots];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value))
      continue;
    seen.add(value);
    waiting.push(Object.getPrototypeOf(value));
    const properties = Object.getOwnPropertyDescriptors(value) as Record<PropertyKey, PropertyDescriptor>;
    for (const key of Reflect.ownKeys(properties)) {
      const property = properties[key];
      if (property !== undefined) waiting.push(...Object.values(property));
    }
  }
  return seen;
}

/** Prototypes of classes, and classes, whose statics are inherited as well. */
function isInherited(object: object): boolean {
  if (typeof object === 'function') return Object.hasOwn(object, 'prototype');
  const { constructor } = Object.getOwnPropertyDescriptors(object) as { constructor?: PropertyDescriptor };
  return typeof constructor?.value === 'function';
}

function allowOverride(owner: Target, name: PropertyKey): void {
  const property = Object.getOwnPropertyDescriptor(owner, name);
  if (property === undefined || !('value' in property) || !property.writable || !property.configurable)
    return;
  const { value, enumerable } = property as { value: unknown; enumerable: boolean };
  const accessors = {
    get: () => value,
    set(this: unknown, next: unknown) {
      if (this === owner || Object(this) !== this) {
        throw new TypeError(
          `Cannot assign to read only property '${String(name)}': it is shared by all runs`,
        );
      }
      Object.defineProperty(this, name, {
        value: next,
        writable: true,
        enumerable: true,
        configurable: true,
      });
    },
  };
  // They can be reached as well, and are newer than what was found to be reachable.
  for (const accessor of Object.values(accessors)) Object.freeze(accessor);
  Object.defineProperty(owner, name, { enumerable, configurable: true, ...accessors });
}

/** @returns what puts back each property that has to stay writable */
function freeze(object: Target, isInherited: boolean): (() => void)[] {
  // Only its module can write to it.
  if (types.isModuleNamespaceObject(object)) return [];
  const writable = Reflect.ownKeys(object).filter((name) => staysWritable(object, name, isInherited));
  if (writable.length === 0 && !ArrayBuffer.isView(object)) {
    Object.freeze(object);
    return [];
  }
  for (const name of Reflect.ownKeys(object)) {
    if (writable.includes(name) || ArrayBuffer.isView(object)) continue;
    const property = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, {
      configurable: false,
      ...(property && 'value' in property && { writable: false }),
    });
  }
  Object.preventExtensions(object);
  return writable.map((name) => {
    const value = object[name];
    return () => void (object[name] = value);
  });
}

/**
 * `Error.stackTraceLimit`, which Node's own code sets and resets, and what cannot become an accessor although instances
 * have it, too (a flag of EventEmitter).
 */
function staysWritable(object: Target, name: PropertyKey, isInherited: boolean): boolean {
  if (object === (Error as unknown)) return name === 'stackTraceLimit';
  const property = Object.getOwnPropertyDescriptor(object, name);
  if (property?.writable !== true || property.configurable || ArrayBuffer.isView(object)) return false;
  return isInherited && typeof object !== 'function';
}
