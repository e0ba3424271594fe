import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';
import type { TestProcess } from '../../test/support/processes.ts';
import { waitFor } from '../../test/support/wait-for.ts';
import type { Services } from '../platform/services.ts';
import { installInto } from './npm-folder.ts';
import { placeProgram } from './programs.ts';
import { measureLoad, toMeasured, untilEndedBy, type Measured, type System } from './system.ts';

const SERVER_VERSION = '1.7.12';
const SDK_VERSION = '1.17.2';
const READY_WITHIN_MS = 60_000;

interface Places {
  readonly server: string;
  readonly program: string;
}

/**
 * Restate (https://docs.restate.dev): a server with a log and a store of its own, which calls a service for each step's
 * journal. One server, one process of the service; nobody checks a signature. An execution counts as ended when the
 * service returns, which is a little before the server has written it.
 *
 * @throws Error when it cannot be installed
 */
export async function installRestate(say: (text: string) => void): Promise<System> {
  const folder = await installInto(
    {
      name: `restate-${SERVER_VERSION}`,
      packages: [`@restatedev/restate-server@${SERVER_VERSION}`, `@restatedev/restate-sdk@${SDK_VERSION}`],
      proof: '.bin/restate-server',
    },
    say,
  );
  const places = {
    server: join(folder, 'node_modules', '.bin', 'restate-server'),
    program: await placeProgram(folder, 'restate.mjs'),
  };
  return {
    name: `Restate ${SERVER_VERSION}`,
    measure: (services, seconds) => measure(services, places, seconds),
  };
}

async function measure(services: Services, places: Places, seconds: number): Promise<Measured> {
  const started: TestProcess[] = [];
  try {
    const { ingress, count } = await start(services, places, started);
    const target = { url: `${ingress}/bench/run/send` };
    const load = await measureLoad(services, target, seconds, (ended) => untilEnded(count, ended));
    const measured = await countAfter(count, load.warmUp);
    return toMeasured(load, {
      count: measured.count,
      seconds: (measured.lastMs - measured.firstMs) / 1000,
    });
  } finally {
    for (const child of started) child.signalGroup('SIGKILL');
    await Promise.all(started.map((child) => child.exited));
  }
}

/** Starts server and service, and tells the one of the other. */
async function start(
  services: Services,
  { server, program }: Places,
  started: TestProcess[],
): Promise<{ readonly ingress: string; readonly count: string }> {
  const address = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
  const [ingress, admin, fabric, service, count] = await Promise.all([
    address(),
    address(),
    address(),
    address(),
    address(),
  ]);
  const portOf = (of: string): string => of.split(':')[1] ?? '';
  const folder = join(services.directory, `restate-${portOf(fabric)}`);
  await mkdir(folder, { recursive: true });
  const child = services.processes.start([process.execPath, program], {
    env: { PORT: portOf(service), COUNT_PORT: portOf(count) },
  });
  started.push(child);
  await child.waitForOutput(/listening/, { timeoutMs: READY_WITHIN_MS });
  const main = services.processes.start([server, '--base-dir', folder, '--node-name', 'bench'], {
    cwd: folder,
    env: {
      RESTATE_LISTEN_MODE: 'tcp',
      RESTATE_BIND_ADDRESS: fabric,
      RESTATE_ADVERTISED_ADDRESS: `http://${fabric}`,
      RESTATE_INGRESS__BIND_ADDRESS: ingress,
      RESTATE_ADMIN__BIND_ADDRESS: admin,
      RESTATE_DISABLE_TELEMETRY: 'true',
      RESTATE_LOG_FILTER: 'warn',
    },
  });
  started.push(main);
  await waitFor(
    async () => {
      if (main.hasExited()) return true;
      const { status } = await fetch(`http://${admin}/deployments`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ uri: `http://${service}`, force: true }),
      });
      return status === 201 || status === 200;
    },
    { timeoutMs: READY_WITHIN_MS, intervalMs: 250, what: 'Restate to know the service' },
  );
  if (main.hasExited()) throw new Error(`Restate ended:\n${main.output().slice(-2000)}`);
  return { ingress: `http://${ingress}`, count: `http://${count}` };
}

interface Count {
  readonly count: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** Of the executions after the first so many. */
const countAfter = async (url: string, skipped: number): Promise<Count> =>
  (await (await fetch(`${url}/?after=${skipped}`)).json()) as Count;

const untilEnded = (url: string, wanted: number): Promise<void> =>
  untilEndedBy('Restate', wanted, async () => ({ ended: (await countAfter(url, 0)).count, failed: 0 }));
