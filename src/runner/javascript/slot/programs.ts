// oxlint-disable-next-line no-restricted-imports -- no host code: this runs inside the sandbox
import vm from 'node:vm';
import type { CommonJsFunction } from '../realm/host.ts';
import { toBuffer } from '../bytes.ts';
import type { ProgramMessage } from '../messages.ts';

/** On the program's first line, so that its lines are the bundle's. */
const PREFIX = '(function (exports, require, module, __filename, __dirname) {';
const SUFFIX = '\n})';

export interface Programs {
  /** @throws SyntaxError */
  load(message: ProgramMessage): void;
  forget(program: string): void;
  /** Makes the function of a program that was loaded, in a context. */
  evaluate: (program: string, context: vm.Context) => CommonJsFunction;
  /**
   * After a run, when the functions it needed are compiled: what another slot gets to have them at once; undefined when
   * there is nothing new to give.
   */
  takeCodeCache(program: string): ArrayBuffer | undefined;
}

/** Scripts, compiled once and run in one context after another. */
export function createPrograms(): Programs {
  const scripts = new Map<string, { readonly script: vm.Script; hasCache: boolean }>();
  const decoder = new TextDecoder();
  return {
    load({ program, entry, source, codeCache }) {
      const script = new vm.Script(PREFIX + decoder.decode(source) + SUFFIX, {
        filename: entry,
        columnOffset: -PREFIX.length,
        cachedData: codeCache && new Uint8Array(codeCache),
      });
      scripts.set(program, {
        script,
        hasCache: codeCache !== undefined && script.cachedDataRejected === false,
      });
    },
    forget(program) {
      scripts.delete(program);
    },
    evaluate(program, context) {
      const known = scripts.get(program);
      if (known === undefined) throw new Error('the program was not loaded');
      return known.script.runInContext(context) as CommonJsFunction;
    },
    takeCodeCache(program) {
      const known = scripts.get(program);
      if (known === undefined || known.hasCache) return undefined;
      known.hasCache = true;
      return toBuffer(known.script.createCachedData());
    },
  };
}
