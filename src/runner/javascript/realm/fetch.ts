import { FetchError } from './errors.ts';
import { hidden } from './globals.ts';
import type { RunHost } from './host.ts';

/** The `fetch` of the standard, which asks the worker's broker. */
export function createFetch(run: () => RunHost): (input: unknown, init?: RequestInit) => Promise<Response> {
  return function fetch(input, init) {
    return new Promise((resolve, reject) => {
      run().fetch(input, init, {
        resolve: (response) => resolve(adoptResponse(response)),
        reject,
        toError: (code, message) => new FetchError(code, message),
      });
    });
  };
}

/**
 * The slot's realm would give JSON of its own objects, which `assert.deepEqual` and others tell apart; and a copy would
 * not know where it came from.
 */
function adoptResponse(response: Response): Response {
  const { clone } = Reflect.getPrototypeOf(response) as Response;
  return Object.defineProperties(response, {
    json: hidden(async () => JSON.parse(await response.text()) as unknown),
    clone: hidden(() => {
      const copy = Reflect.apply(clone, response, []);
      const { url, redirected } = response;
      return adoptResponse(
        Object.defineProperties(copy, { url: hidden(url), redirected: hidden(redirected) }),
      );
    }),
  });
}
