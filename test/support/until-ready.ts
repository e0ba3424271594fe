import type { TestProcess } from './processes.ts';
import { waitFor } from './wait-for.ts';

/**
 * Waits until a process of the platform is ready.
 *
 * @param port of its health
 * @throws Error with the last of what it wrote, at once when it ends before
 */
export async function untilReady(started: TestProcess, port: number, timeoutMs = 30_000): Promise<void> {
  await waitFor(
    async () => {
      if (started.hasExited()) return true;
      return (await fetch(`http://127.0.0.1:${port}/health/ready`)).status === 200;
    },
    { timeoutMs, what: 'a process to be ready' },
  );
  if (started.hasExited()) throw new Error(`the process ended:\n${started.output().slice(-3000)}`);
}
