import { builtinModules } from 'node:module';
import type { JavascriptTarget } from './esbuild.ts';
import { IMPORTABLE_BUILTINS, JAVASCRIPT_BUILD_OPTIONS, USABLE_BUILTINS } from './javascript-target.ts';

/** Of the files of a workflow. */
export const JAVASCRIPT_TARGET: JavascriptTarget = {
  options: JAVASCRIPT_BUILD_OPTIONS,
  builtins: USABLE_BUILTINS,
};

/** Of what is bundled already: packages in it name modules of Node that they never use, and the runner refuses the use. */
export const SHIPPED_TARGET: JavascriptTarget = {
  ...JAVASCRIPT_TARGET,
  builtins: [...builtinModules, ...IMPORTABLE_BUILTINS],
};
