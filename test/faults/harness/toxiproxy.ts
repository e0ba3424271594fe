import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../../support/cache-directory.ts';
import { freePort } from '../../support/free-port.ts';
import type { TestProcesses } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';

/** A TCP connection between two processes that a test can cut, by Toxiproxy. */
export interface Link {
  readonly port: number;
  /** Where connections go from now on; those that are open end. */
  redirect(upstreamPort: number): Promise<void>;
  /** Ends the connections, and refuses new ones. */
  cut(): Promise<void>;
  /** Nothing gets through any more in either direction, and nobody is told: as when a cable is pulled. */
  silence(): Promise<void>;
  /** What is sent to the server stays on the way until the link is healed, and gets there then; its answers get through. */
  hold(): Promise<void>;
  /** As at the beginning. */
  heal(): Promise<void>;
}

/** Longer than any row. */
const HELD_MS = 3_600_000;

export interface Toxiproxy {
  link(name: string, upstreamPort: number): Promise<Link>;
}

/**
 * Starts Toxiproxy, which `scripts/setup-test-machine` installs.
 *
 * @see https://github.com/Shopify/toxiproxy/blob/v2.5.0/README.md#http-api
 */
export async function startToxiproxy(processes: TestProcesses): Promise<Toxiproxy> {
  const program = await findToxiproxy();
  const port = await freePort();
  processes.start([program, '-host', '127.0.0.1', '-port', String(port)], { env: { LOG_LEVEL: 'error' } });
  const call = async (method: string, path: string, body?: object): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok)
      throw new Error(`toxiproxy: ${method} ${path}: ${response.status} ${await response.text()}`);
  };
  await waitFor(() => call('GET', '/version').then(() => true), { what: 'toxiproxy to start' });
  return {
    async link(name, upstreamPort) {
      const listenPort = await freePort();
      await call('POST', '/proxies', {
        name,
        listen: `127.0.0.1:${listenPort}`,
        upstream: `127.0.0.1:${upstreamPort}`,
        enabled: true,
      });
      let toxics: readonly string[] = [];
      const poison = async (
        type: string,
        attributes: object,
        streams: readonly ('upstream' | 'downstream')[],
      ): Promise<void> => {
        toxics = streams;
        for (const stream of streams)
          await call('POST', `/proxies/${name}/toxics`, { name: stream, type, stream, attributes });
      };
      const listen = `127.0.0.1:${listenPort}`;
      let upstream = `127.0.0.1:${upstreamPort}`;
      const set = (enabled: boolean): Promise<void> =>
        call('POST', `/proxies/${name}`, { listen, upstream, enabled });
      return {
        port: listenPort,
        async redirect(nextPort) {
          upstream = `127.0.0.1:${nextPort}`;
          await set(false);
          await set(true);
        },
        cut: () => set(false),
        silence: () => poison('timeout', { timeout: 0 }, ['upstream', 'downstream']),
        // One that is taken away lets go at once of what it delayed.
        hold: () => poison('latency', { latency: HELD_MS }, ['upstream']),
        async heal() {
          for (const toxic of toxics) await call('DELETE', `/proxies/${name}/toxics/${toxic}`);
          toxics = [];
          await set(true);
        },
      };
    },
  };
}

async function findToxiproxy(): Promise<string> {
  const program = join(cacheDirectory(), 'tools', 'toxiproxy');
  await access(program).catch((raw: unknown) => {
    throw new Error(`The fault tests need ${program}. Run \`scripts/setup-test-machine\`.`, { cause: raw });
  });
  return program;
}
