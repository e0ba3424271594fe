// A service of three durable steps, and beside it the count of what it has ended, which Restate does not keep.
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import * as restate from '@restatedev/restate-sdk';
import { pick, reckon, shape } from './steps.mjs';

/** When each ended. */
const ends = [];

const bench = restate.service({
  name: 'bench',
  handlers: {
    run: async (ctx, body) => {
      const picked = await ctx.run('pick', () => pick(body));
      const reckoned = await ctx.run('reckon', () => reckon(picked));
      const shaped = await ctx.run('shape', () => shape(picked, reckoned));
      ends.push(Date.now());
      return shaped;
    },
  },
});

createHttp2Server(restate.createEndpointHandler({ services: [bench] })).listen(
  Number(process.env.PORT),
  '127.0.0.1',
);
createServer((request, response) => {
  const later = ends.slice(Number(new URL(request.url, 'http://localhost').searchParams.get('after')));
  response.end(JSON.stringify({ count: later.length, firstMs: later.at(0), lastMs: later.at(-1) }));
}).listen(Number(process.env.COUNT_PORT), '127.0.0.1', () => console.log('listening'));
