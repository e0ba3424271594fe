import { z } from 'zod';
const order = z.object({ id: z.string(), at: z.instanceof(Uint8Array), total: z.coerce.number() });
export default () => {
  const bad = order.safeParse({ id: 1 });
  return {
    total: order.parse({ id: 'a', at: new TextEncoder().encode('x'), total: '42' }).total,
    bad: bad.success,
  };
};
