// A process of its own: takes spans by OTLP over HTTP and forgets them. A GET tells how many bytes of them came.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

let bytes = 0;

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(String(bytes));
    return;
  }
  request.on('data', (chunk: Buffer) => (bytes += chunk.length));
  // An empty ExportTraceServiceResponse: everything was taken.
  request.on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo; // it listens on TCP
  process.stdout.write(`listening on ${port}\n`);
});
