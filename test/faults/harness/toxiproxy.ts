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
  /** As at the beginning. */
  heal(): Promise<void>;
}

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
      let isSilent = false;
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
        async silence() {
          isSilent = true;
          for (const stream of ['upstream', 'downstream']) {
            await call('POST', `/proxies/${name}/toxics`, {
              name: stream,
              type: 'timeout',
              stream,
              attributes: { timeout: 0 },
            });
          }
        },
        async heal() {
          if (isSilent)
            for (const stream of ['upstream', 'downstream'])
              await call('DELETE', `/proxies/${name}/toxics/${stream}`);
          isSilent = false;
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
