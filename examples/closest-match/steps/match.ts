import { closest, distance } from 'fastest-levenshtein';

interface Context {
  readonly config: { readonly products: readonly string[] };
  readonly log: { info(...parts: unknown[]): void };
}
interface Trigger {
  readonly body?: { readonly product?: unknown };
}

/** The product whose name takes the fewest changes of letters. */
export default async function match(ctx: Context, trigger: Trigger) {
  const wanted = trigger.body?.product;
  if (typeof wanted !== 'string') throw new TypeError('send {"product": "<name>"}');
  const product = closest(wanted.toLowerCase(), ctx.config.products);
  const changes = distance(wanted.toLowerCase(), product);
  ctx.log.info(`${wanted} is taken for ${product}`);
  return { product, changes };
}
