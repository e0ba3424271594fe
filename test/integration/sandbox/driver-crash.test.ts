import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { imagesDirectoryOf } from '../../../src/worker/sandbox/images/place.ts';
import { createImageStore } from '../../../src/worker/sandbox/images/store.ts';
import { makeShellLayer } from '../../support/machine-image.ts';
import { writeLayout } from '../../support/oci-layout.ts';
import { createProcesses, NODE_FLAGS, type TestProcess } from '../../support/processes.ts';
import { waitFor } from '../../support/wait-for.ts';
import {
  canIsolate,
  launcherOf,
  machineCache,
  openDriver,
  standInOptions,
  startStandIn,
  tracesOf,
} from './driver-support/harness.ts';

const program = fileURLToPath(new URL('./driver-support/worker.ts', import.meta.url));

describe.runIf(canIsolate)('sandboxes whose worker is killed', { timeout: 60_000 }, () => {
  const processes = createProcesses();
  let stateDirectory: string;

  beforeEach(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    await chmod(stateDirectory, 0o711);
  });
  afterEach(async () => {
    await processes.killAll();
    await rm(stateDirectory, { recursive: true, force: true });
  });

  const startWorker = (count: number, ...more: readonly string[]): TestProcess =>
    processes.start([process.execPath, ...NODE_FLAGS, program, stateDirectory, String(count), ...more], {
      env: process.env.MILLRACE_RUNSC ? { MILLRACE_RUNSC: process.env.MILLRACE_RUNSC } : {},
    });
  const launcherOfWorker = async (worker: TestProcess): Promise<{ id: string; pid: number }> => {
    const [, list] = await worker.waitForOutput(/\{"sandboxes":(.*)\}/, { timeoutMs: 30_000 });
    return launcherOf((JSON.parse(list!) as readonly [string])[0]); // the pattern has the group
  };
  const waitUntilNothingIsLeft = (launchers: readonly string[]): Promise<unknown> =>
    waitFor(async () => (await tracesOf(stateDirectory, launchers)).length === 0, {
      what: 'nothing to be left',
      timeoutMs: 10_000,
    }).catch(async (error: unknown) => {
      throw new Error(`left: ${(await tracesOf(stateDirectory, launchers)).join('\n')}`, { cause: error });
    });

  it('are gone after SIGKILL of the worker', async () => {
    const worker = startWorker(3);
    const launcher = await launcherOfWorker(worker);
    expect((await tracesOf(stateDirectory, [launcher.id])).length).toBeGreaterThan(3);
    worker.signal('SIGKILL');
    await waitUntilNothingIsLeft([launcher.id]);
    await waitFor(() => !isRunning(launcher.pid), { what: 'the launcher to end' });
  });

  it('are gone with it, containers of images too', async () => {
    const worker = startWorker(2, await provideImage());
    const launcher = await launcherOfWorker(worker);
    expect((await tracesOf(stateDirectory, [launcher.id])).length).toBeGreaterThan(2);
    worker.signal('SIGKILL');
    await waitUntilNothingIsLeft([launcher.id]);
    await waitFor(() => !isRunning(launcher.pid), { what: 'the launcher to end' });
  });

  it('are gone after SIGKILL of its process group', async () => {
    const worker = startWorker(2);
    const launcher = await launcherOfWorker(worker);
    worker.signalGroup('SIGKILL');
    await waitUntilNothingIsLeft([launcher.id]);
    await waitFor(() => !isRunning(launcher.pid), { what: 'the launcher to end' });
  });

  it('are gone when it is killed while they start, and took no answer of the launcher any more', async () => {
    const worker = startWorker(4, 'stop');
    const countRunning = async (): Promise<number> =>
      (await tracesOf(stateDirectory, [])).filter((trace) => / run .*-\d+ $/.test(trace)).length;
    await waitFor(async () => (await countRunning()) === 4, { what: 'all to start', timeoutMs: 30_000 });
    const [launcher] = (await tracesOf(stateDirectory, [])).filter((trace) => /^w\d+-[0-9a-f]+$/.test(trace));
    worker.signal('SIGKILL');
    await waitUntilNothingIsLeft([launcher ?? '']);
  });

  it('are swept by the next worker when the launcher was killed, too; a living one keeps its own', async () => {
    const [killed, living] = [startWorker(2), startWorker(1)];
    const [dead, other] = [await launcherOfWorker(killed), await launcherOfWorker(living)];
    killed.signal('SIGSTOP'); // so that it starts no other launcher
    process.kill(dead.pid, 'SIGKILL');
    killed.signal('SIGKILL');
    await killed.exited;
    // Without anybody's doing, the processes end with the launcher; the folders and cgroups stay.
    await waitFor(async () =>
      (await tracesOf(stateDirectory, [dead.id])).every(
        (trace) => !trace.includes(`/${dead.id}/`) || trace.startsWith('/sys'),
      ),
    );
    expect(await tracesOf(stateDirectory, [dead.id])).toContain(dead.id);
    const next = startWorker(1);
    const third = await launcherOfWorker(next);
    const left = await tracesOf(stateDirectory, [dead.id]);
    expect(left.filter((trace) => trace.includes(dead.id))).toEqual([]);
    expect(left).toEqual(expect.arrayContaining([other.id, third.id]));
    expect(isRunning(other.pid)).toBe(true);
    for (const worker of [living, next]) worker.signal('SIGKILL');
    await waitUntilNothingIsLeft([dead.id, other.id, third.id]);
  });

  it('are told as ended when the launcher is killed, and another one is started', async () => {
    const driver = await openDriver(standInOptions(stateDirectory));
    const { sandbox } = await startStandIn(driver, 'javascript');
    const launcher = launcherOf(sandbox.id);
    process.kill(launcher.pid, 'SIGKILL');
    expect(await sandbox.exited).toMatchObject({ reason: 'exited', detail: 'the launcher ended (SIGKILL)' });
    const after = await startStandIn(driver, 'javascript');
    const successor = launcherOf(after.sandbox.id);
    expect(successor.id).not.toBe(launcher.id);
    expect(await tracesOf(stateDirectory, [launcher.id])).not.toContain(launcher.id);
    await driver.close();
    expect(await tracesOf(stateDirectory, [launcher.id, successor.id])).toEqual([]);
  });

  it('are started for a worker that has dropped its privileges', async () => {
    const worker = startWorker(1, '65532');
    const launcher = await launcherOfWorker(worker);
    const output = worker.stdout();
    // Where the project is below a folder that only root may pass, root is kept, and that is said.
    if (!output.includes('root was kept')) {
      const [, json] = /(\{"answer".*\})/.exec(output) ?? [];
      const told = JSON.parse(json ?? '{}') as Record<string, unknown>;
      expect(told).toMatchObject({ answer: 42 });
      expect(told['memory']).toBeGreaterThan(1_000_000);
      expect(told['status']).toMatch(/^Uid:\s*65532\s+65532\s+65532\s+65532$/m);
      expect(told['status']).toMatch(/^CapPrm:\s*0+$/m);
    }
    worker.signal('SIGKILL');
    await waitUntilNothingIsLeft([launcher.id]);
  });
});

/** An image with a shell, unpacked; its id. */
async function provideImage(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  try {
    const name = 'example.com/tools/sleeper:1';
    await writeLayout(folder, [{ name, layers: [await makeShellLayer(['sh', 'sleep'])] }]);
    const directory = imagesDirectoryOf(machineCache);
    return (await createImageStore({ folder, directory, inUse: () => new Set() }).provide(name)).id;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
