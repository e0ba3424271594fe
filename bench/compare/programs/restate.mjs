// A service of three durable steps, and beside it the count of what it has ended, which Restate does not keep.
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import * as restate from '@restatedev/restate-sdk';
import { pick, reckon, shape } from './steps.mjs';

let ended = { count: 0, firstMs: 0, lastMs: 0 };

const bench = restate.service({
  name: 'bench',
  handlers: {
    run: async (ctx, body) => {
      const picked = await ctx.run('pick', () => pick(body));
      const reckoned = await ctx.run('reckon', () => reckon(picked));
      const shaped = await ctx.run('shape', () => shape(picked, reckoned));
      const now = Date.now();
      ended = { count: ended.count + 1, firstMs: ended.firstMs || now, lastMs: now };
      return shaped;
    },
  },
});

createHttp2Server(restate.createEndpointHandler({ services: [bench] })).listen(
  Number(process.env.PORT),
  '127.0.0.1',
);
createServer((request, response) => {
  if (request.method === 'DELETE') ended = { count: 0, firstMs: 0, lastMs: 0 };
  response.end(JSON.stringify(ended));
}).listen(Number(process.env.COUNT_PORT), '127.0.0.1', () => console.log('listening'));
