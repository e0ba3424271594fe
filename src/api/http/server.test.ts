import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { Agent, request } from 'undici';
import { expect, test } from 'vitest';
import { createFarewell, createHttpServer } from './server.ts';

async function setUp(times: Parameters<typeof createFarewell>[1]) {
  const server = createHttpServer((_req, res) => void setImmediate(() => res.end('served')));
  const sayFarewell = createFarewell(server, times);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const agent = new Agent({ connections: 1, pipelining: 1 });
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const ask = async () => {
    const { body, headers } = await request(`http://127.0.0.1:${port}/`, { dispatcher: agent });
    return { text: await body.text(), connection: headers['connection'] };
  };
  return { server, port, sayFarewell, agent, ask };
}

test('a farewell closes each connection with its answer, and lasts until nobody uses one', async () => {
  const { server, port, sayFarewell, agent, ask } = await setUp({ quietMs: 60_000, limitMs: 60_000 });
  // Open all the time, where the others come and go.
  const other = connect(port, '127.0.0.1');
  await once(other, 'connect');
  expect((await ask()).connection).toBe('keep-alive');
  let isOver = false;
  const farewell = sayFarewell().then(() => (isOver = true));
  for (let sent = 0; sent < 5; sent++) {
    expect(await ask()).toEqual({ text: 'served', connection: 'close' });
    expect(isOver).toBe(false);
  }
  await agent.destroy();
  other.destroy();
  await farewell;
  server.close();
});

test('a farewell is over when nobody has sent anything for a while, whatever is connected', async () => {
  const { server, sayFarewell, agent, ask } = await setUp({ quietMs: 100, limitMs: 10_000 });
  await ask();
  await sayFarewell();
  expect(await new Promise((resolve) => server.getConnections((_, count) => resolve(count)))).toBe(1);
  server.close();
  await agent.destroy();
});

test('tells clients to leave idle connections soon, and itself keeps them longer than load balancers do', async () => {
  const server = createHttpServer((_req, res) => void res.end('served'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const agent = new Agent({ connections: 1 });
  const { body, headers } = await request(`http://127.0.0.1:${port}/`, { dispatcher: agent });
  await body.text();
  expect(headers['keep-alive']).toBe('timeout=5');
  expect(server.keepAliveTimeout + server.keepAliveTimeoutBuffer).toBe(75_000);
  await agent.destroy();
  server.close();
});
