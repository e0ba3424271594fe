import type { ForeignConstructor } from './host.ts';

/**
 * Makes `instanceof` true for objects of the slot's realm as well: a `TypeError` of `new URL('x')`, a list of header
 * values, an ArrayBuffer of a response. Packages ask (jose, zod, got), and must not learn that there are two realms.
 */
export function acceptForeignInstances(intrinsics: Readonly<Record<string, ForeignConstructor>>): void {
  const ordinary = Function.prototype[Symbol.hasInstance];
  for (const [name, foreign] of Object.entries(intrinsics)) {
    const own = (globalThis as Record<string, unknown>)[name] as ForeignConstructor;
    if (own === foreign) continue;
    Object.defineProperty(own, Symbol.hasInstance, {
      configurable: true,
      writable: true,
      // Classes that extend it inherit this, and mean themselves alone.
      value(this: unknown, value: unknown) {
        return (
          Reflect.apply(ordinary, this, [value]) ||
          (this === own && Reflect.apply(ordinary, foreign, [value]))
        );
      },
    });
  }
}
