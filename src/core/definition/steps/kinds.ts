import type { StepKind } from '../types.ts';
import { code, notebook } from './code.ts';
import { container } from './container.ts';
import { http } from './http.ts';
import { respond } from './respond.ts';
import { transform } from './transform.ts';
import { wait } from './wait.ts';

/** Every step kind; a new one is a file beside these and a line here. */
export const KINDS = { http, code, transform, wait, respond, container, notebook } as const satisfies {
  [K in StepKind]: { readonly kind: K };
};
