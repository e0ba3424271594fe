import { adoptClone } from './adopt.ts';
import { DOM_GLOBALS } from './dom-parser.ts';
import type { Host } from './host.ts';

export const hidden = (value: unknown): PropertyDescriptor => ({
  value,
  writable: true,
  enumerable: false,
  configurable: true,
});

export const once = <T>(make: () => T): (() => T) => {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
};

/**
 * A global that is made when it is first read, as every run pays for what is made before it, and few use much of it. From
 * then on, or once something is assigned to it, it is as if it had always been there.
 */
export function defineLazily(name: string, make: () => unknown): void {
  const set = (value: unknown): void => void Object.defineProperty(globalThis, name, hidden(value));
  const get = (): unknown => {
    const value = make();
    set(value);
    return value;
  };
  Object.defineProperty(globalThis, name, { get, set, enumerable: false, configurable: true });
}

/** Gives the context what a server's JavaScript has besides the language. */
export function installGlobals(host: Host): void {
  Object.defineProperties(globalThis, host.webProperties);
  const { structuredClone: clone } = host.web as { structuredClone: typeof structuredClone };
  const own = {
    ...DOM_GLOBALS,
    global: globalThis,
    self: globalThis,
    navigator: Object.freeze({ userAgent: 'Millrace', language: 'en', hardwareConcurrency: 1 }),
    structuredClone: (...values: Parameters<typeof structuredClone>) => adoptClone(clone(...values)),
  };
  for (const [name, value] of Object.entries(own)) Object.defineProperty(globalThis, name, hidden(value));
  limitLeftovers();
}

/** What is used of it; the type check has no library for browsers. */
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports?: object) => object;
  compileStreaming?: unknown;
  instantiateStreaming?: unknown;
}

/**
 * Takes away what goes on after a run without anybody being able to see or stop it: waiting for shared memory, and
 * compiling WebAssembly on other threads. Compiling is done at once instead.
 */
function limitLeftovers(): void {
  Reflect.deleteProperty(Atomics, 'waitAsync');
  const { WebAssembly: wasm } = globalThis as unknown as { readonly WebAssembly: WebAssemblyApi };
  const { Module, Instance } = wasm;
  Object.defineProperties(wasm, {
    compile: hidden(async (bytes: Uint8Array) => new Module(bytes)),
    instantiate: hidden(async (source: Uint8Array, imports?: object) => {
      if (source instanceof Module) return new Instance(source, imports);
      const module = new Module(source);
      return { module, instance: new Instance(module, imports) };
    }),
  });
  delete wasm.compileStreaming;
  delete wasm.instantiateStreaming;
}
