// A process of its own: the least that an HTTP server can do with a webhook. What it takes in is the client's own limit.
// As the sink of `http` steps it is the least that a callee can do.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const status = Number(process.argv[2] ?? 202);
const ANSWER = JSON.stringify({
  deliveryId: '00000000-0000-7000-8000-000000000000',
  executionId: '00000000-0000-7000-8000-000000000000',
  duplicate: false,
});

const server = createServer((request, response) => {
  request.on('data', () => undefined);
  request.on('end', () => {
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': ANSWER.length });
    response.end(ANSWER);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo; // it listens on TCP
  process.stdout.write(`listening on ${port}\n`);
});
