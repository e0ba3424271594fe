import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';
import type { Services } from '../platform/services.ts';
import type { Measure } from './measure.ts';

const READY_WITHIN_MS = 60_000;

/** `npm start`: the whole platform in one process, with a database of its own. */
export const start: Measure = {
  name: 'start',
  title: '`npm start` until ready',
  async run({ services }) {
    const directory = join(services.directory, `start-${Date.now()}`);
    return {
      firstStartMs: await timeStart(services, directory),
      secondStartMs: await timeStart(services, directory),
    };
  },
};

async function timeStart(services: Services, directory: string): Promise<number> {
  const [apiPort, workerPort] = [await freePort(), await freePort()];
  const startedAt = performance.now();
  const child = services.processes.start(['npm', 'start'], {
    env: {
      MILLRACE_DATA_DIR: directory,
      API_PORT: String(apiPort),
      WORKER_PORT: String(workerPort),
      LOG_LEVEL: 'warn',
    },
  });
  try {
    for (;;) {
      const status = await fetch(`http://127.0.0.1:${apiPort}/health/ready`).then(
        (response) => response.status,
        () => undefined,
      );
      const elapsedMs = performance.now() - startedAt;
      if (status === 200) return elapsedMs;
      if (child.hasExited() || elapsedMs > READY_WITHIN_MS) {
        throw new Error(`\`npm start\` did not get ready:\n${child.output()}`);
      }
      await delay(10);
    }
  } finally {
    if (!child.hasExited()) child.signalGroup('SIGTERM');
    await child.exited;
  }
}
