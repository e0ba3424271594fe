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

interface Server {
  readonly port: number;
  readonly process: TestProcess;
  stop(): Promise<void>;
}

/** A server that answers every request at once, in a process of its own. */
export const startBareServer = (processes: TestProcesses, status: number): Promise<Server> =>
  startServer(processes, 'bare-server.ts', String(status));

/** What spans are sent to. */
export async function startTraceSink(
  processes: TestProcesses,
): Promise<Server & { receivedBytes(): Promise<number> }> {
  const server = await startServer(processes, 'trace-sink.ts');
  return {
    ...server,
    receivedBytes: async () => Number(await (await fetch(`http://127.0.0.1:${server.port}/`)).text()),
  };
}

async function startServer(processes: TestProcesses, name: string, ...args: string[]): Promise<Server> {
  const child = processes.start([process.execPath, file(name), ...args]);
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
