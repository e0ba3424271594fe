// A process that owns sandboxes, to be killed: `node worker.ts <state directory> <how many> [<uid> | stop | <image>]`. Says
// which it has, once all are ready; then answers nothing more. With `stop` it stops itself (SIGSTOP) when it has asked for
// them; with the id of an image it has containers of that, which sleep, instead.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { dropPrivileges } from '../../../../src/core/privileges.ts';
import type { ImageContainer } from '../../../../src/worker/sandbox/driver.ts';
import { PROJECT_ROOT } from '../../../support/processes.ts';
import { LIMITS, openDriver, standInOptions, startStandIn } from './harness.ts';

const [stateDirectory, count, more] = process.argv.slice(2);
const uid = more !== undefined && /^\d{1,9}$/.test(more) ? more : undefined;
const image = more !== undefined && /^[0-9a-f]{64}$/.test(more) ? more : undefined;
if (stateDirectory === undefined)
  throw new Error('usage: worker.ts <state directory> <how many> [<uid> | stop | <image>]');
const driver = await openDriver(standInOptions(stateDirectory));
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (uid !== undefined) {
  const identity = { uid: Number(uid), gid: Number(uid) };
  say(await dropPrivileges(identity, { readable: [`${PROJECT_ROOT}src`], writable: [] }));
}
if (image !== undefined) {
  const containers = await Promise.all(Array.from({ length: Number(count) }, () => sleep(image)));
  say({ sandboxes: containers.map(({ id }) => id) });
}
const starting = Array.from({ length: image === undefined ? Number(count) : 0 }, () =>
  startStandIn(driver, 'javascript'),
);
if (more === 'stop') setImmediate(() => process.kill(process.pid, 'SIGSTOP'));
const started = await Promise.all(starting);
const [first] = started;
if (uid !== undefined && first !== undefined) {
  await first.sandbox.setLimits({ ...LIMITS, cpus: 0.5 });
  say({
    answer: await first.tell('6 * 7'),
    memory: await first.sandbox.memoryBytes(),
    status: await readFile('/proc/self/status', 'utf8'),
  });
}
if (image === undefined) say({ sandboxes: started.map(({ sandbox }) => sandbox.id) });
setInterval(() => undefined, 60_000);

/** A container that has said it runs. */
async function sleep(of: string): Promise<ImageContainer> {
  if (driver.runImage === undefined) throw new Error('this driver runs no images');
  const container = await driver.runImage({
    image: of,
    process: {
      command: ['/bin/sh', '-c', 'echo here; exec sleep 600'],
      environment: { PATH: '/usr/bin' },
      folder: '/',
      userId: 65532,
      groupId: 65532,
    },
    input: '',
    limits: LIMITS,
  });
  await once(container.stdout, 'data');
  return container;
}
