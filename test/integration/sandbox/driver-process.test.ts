import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SandboxDriver } from '../../../src/worker/sandbox/driver.ts';
import { describeOwner, isOwnerGone } from '../../../src/worker/sandbox/rootfs/owner.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';
import { waitFor } from '../../support/wait-for.ts';
import { decodeFrames } from './driver-support/frames.ts';
import { LIMITS, openDriver, standInOptions, startStandIn } from './driver-support/harness.ts';

async function open(): Promise<SandboxDriver> {
  const cacheDirectory = await makeTempDirectory();
  const driver = await openDriver(standInOptions('/nowhere', { driver: 'process', cacheDirectory }));
  onTestFinished(() => driver.close());
  return driver;
}

const leftFolders = async (): Promise<readonly string[]> =>
  (await readdir(tmpdir())).filter((name) => name.startsWith(`millrace-process-${process.pid}-`));

describe('the process driver', () => {
  it('says that it hardly isolates', async () => {
    const driver = await open();
    expect(driver.description).toEqual({
      driver: 'process',
      isolation: 'none but Deno permissions (for development only)',
    });
  });

  it('runs JavaScript without a permission or a variable of the platform', async () => {
    const driver = await open();
    const { tell } = await startStandIn(driver, 'javascript');
    expect(await tell('6 * 7')).toBe(42);
    await expect(tell(`Deno.readTextFile('/etc/passwd')`)).rejects.toThrow(/NotCapable/);
    await expect(tell(`Deno.env.get('HOME')`)).rejects.toThrow(/NotCapable/);
  });

  it('runs Python with the declared environment, and reads a shared folder where it is', async () => {
    const driver = await open();
    const { sandbox, tell } = await startStandIn(driver, 'python');
    await tell('import os; result = 1');
    expect(Object.keys((await tell('result = dict(os.environ)')) as object).sort()).toEqual([
      'HOME',
      'LANG',
      'PATH',
      'TMPDIR',
    ]);
    expect(await sandbox.share('it', '/some/folder')).toBe('/some/folder');
    await sandbox.setLimits(LIMITS);
    expect(await sandbox.memoryBytes()).toBeUndefined();
  });

  it('ends a runner with all its children, and removes its folder', async () => {
    const driver = await open();
    const { sandbox, tell } = await startStandIn(driver, 'python');
    const child = Number(
      await tell(`import subprocess; result = subprocess.Popen(['/bin/sleep', '600']).pid`),
    );
    const owner = await describeOwner(child);
    expect(await isOwnerGone(owner)).toBe(false);
    expect((await leftFolders()).length).toBe(1);
    sandbox.kill();
    expect(await sandbox.exited).toMatchObject({ reason: 'killed', detail: 'signal SIGKILL' });
    await waitFor(() => isOwnerGone(owner), { what: 'the child to end' });
    expect(await leftFolders()).toEqual([]);
  });

  it('tells the exit code and what was written to stderr', async () => {
    const driver = await open();
    const { sandbox, leave } = await startStandIn(driver, 'python');
    leave(`import os; os.write(2, b'it broke'); os._exit(3)`);
    expect(await sandbox.exited).toEqual({ reason: 'exited', detail: 'exit code 3; it broke' });
  });

  it('ends all that is left when it is closed', async () => {
    const driver = await open();
    const { sandbox } = await startStandIn(driver, 'javascript');
    await driver.close();
    expect(await sandbox.exited).toMatchObject({ reason: 'killed' });
    await expect(driver.start({ runtime: 'javascript', limits: LIMITS })).rejects.toThrow(/closed/);
  });

  it.for(['javascript', 'python'] as const)('starts the real %s runner', async (runtime) => {
    const cacheDirectory = await makeTempDirectory();
    const { bundleJavaScriptRunner: _, pythonRunner: __, ...options } = standInOptions('/nowhere');
    const driver = await openDriver({ ...options, driver: 'process', cacheDirectory });
    onTestFinished(() => driver.close());
    const { channel } = await driver.start({ runtime, limits: LIMITS });
    expect((await decodeFrames(channel).next()).header).toMatchObject({ type: 'ready', protocol: 1 });
  });
});
