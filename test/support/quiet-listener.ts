import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/** Listens on every address of this machine, TCP and UDP on the same port, and notes whoever comes. */
export interface QuietListener {
  readonly port: number;
  /** What came, in words. */
  readonly heard: readonly string[];
  close(): Promise<void>;
}

export async function startQuietListener(): Promise<QuietListener> {
  const heard: string[] = [];
  const server = createServer((socket) => {
    heard.push(`TCP from ${socket.remoteAddress}`);
    socket.on('error', () => undefined);
    socket.on('data', (data) => heard.push(`TCP data ${data.toString('latin1').slice(0, 200)}`));
    // Whoever reads an answer has more to show than whoever is cut off.
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nheard');
  });
  server.listen(0, '::');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const udp = createSocket({ type: 'udp6', ipv6Only: false });
  udp.on('message', (data, from) =>
    heard.push(`UDP from ${from.address}: ${data.toString('latin1').slice(0, 200)}`),
  );
  udp.bind(port, '::');
  await once(udp, 'listening');
  return {
    port,
    heard,
    async close() {
      udp.close();
      server.close();
      await once(server, 'close');
    },
  };
}
