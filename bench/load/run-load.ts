import { fileURLToPath } from 'node:url';
import type { TestProcess, TestProcesses } from '../../test/support/processes.ts';
import type { ClosedLoopOrder, ClosedLoopResult, OpenLoopOrder, OpenLoopResult } from './shapes.ts';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** @throws when anything but the expected status came back, or anything went wrong */
export async function runClosedLoop(
  processes: TestProcesses,
  order: ClosedLoopOrder,
): Promise<ClosedLoopResult> {
  return checked(await runToEnd<ClosedLoopResult>(processes, 'closed-loop.ts', order));
}

/** @throws when anything but the expected status came back, or anything went wrong */
export async function runOpenLoop(processes: TestProcesses, order: OpenLoopOrder): Promise<OpenLoopResult> {
  return checked(await runToEnd<OpenLoopResult>(processes, 'open-loop.ts', order));
}

/** A server that answers every request at once, in a process of its own. */
export async function startBareServer(
  processes: TestProcesses,
  status: number,
): Promise<{ readonly port: number; readonly process: TestProcess; stop(): Promise<void> }> {
  const child = processes.start([process.execPath, file('bare-server.ts'), String(status)]);
  const [, port] = await child.waitForOutput(/listening on (\d+)/);
  return {
    port: Number(port),
    process: child,
    async stop() {
      child.signal('SIGTERM');
      await child.exited;
    },
  };
}

function checked<R extends { readonly failures: Readonly<Record<string, number>> }>(result: R): R {
  const failures = Object.entries(result.failures);
  if (failures.length === 0) return result;
  throw new Error(
    `requests failed: ${failures.map(([reason, count]) => `${count} with ${reason}`).join(', ')}`,
  );
}

async function runToEnd<R>(processes: TestProcesses, name: string, order: unknown): Promise<R> {
  const child = processes.start([process.execPath, file(name), JSON.stringify(order)]);
  const code = await child.exited;
  if (code !== 0) throw new Error(`${name} ended with ${code}:\n${child.output()}`);
  return JSON.parse(child.stdout()) as R; // the program prints exactly that
}
