import { UnresolvedImportError } from './errors.ts';

/** Looked up on everything, by the language itself and by bundlers: they are answered as any object does. */
const UNREMARKABLE = new Set<string | symbol>(['then', 'toJSON', '__esModule', 'default', 'constructor']);

/**
 * A module that can be imported but not used: packages import `node:fs` for the one function that nobody calls here.
 * Whatever is read of it can be read further; calling it says what is missing.
 *
 * @param known what the module has all the same
 */
export function refusedModule(name: string, reason: string, known: object = {}): object {
  const lookUp: ProxyHandler<object> = {
    get: (_, key) => (typeof key === 'symbol' || UNREMARKABLE.has(key) ? undefined : refused(key)),
  };
  const refused = (path: string): object => {
    const refuse = (): never => {
      throw new UnresolvedImportError(`\`${path}\` of node:${name} is not there in a sandbox: ${reason}`);
    };
    // Not an arrow function: `class Agent extends http.Agent` needs a prototype.
    return new Proxy(function refusedFunction(): void {}, {
      apply: refuse,
      construct: refuse,
      get: (target, key, receiver) =>
        key in target || typeof key === 'symbol' || UNREMARKABLE.has(key)
          ? (Reflect.get(target, key, receiver) as unknown)
          : refused(`${path}.${key}`),
    });
  };
  // As prototype: bundlers copy a module's own properties, and keep its prototype.
  return Object.assign(Object.create(new Proxy({}, lookUp)) as object, known);
}
