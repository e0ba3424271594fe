// A process that owns sandboxes, to be killed: `node worker.ts <state directory> <how many> [<uid> | stop]`. Says which it
// has, once all are ready; then answers nothing more. With `stop` it stops itself (SIGSTOP) when it has asked for them.
import { readFile } from 'node:fs/promises';
import { dropPrivileges } from '../../../../src/core/privileges.ts';
import { PROJECT_ROOT } from '../../../support/processes.ts';
import { LIMITS, openDriver, standInOptions, startStandIn } from './harness.ts';

const [stateDirectory, count, more] = process.argv.slice(2);
const uid = more === 'stop' ? undefined : more;
if (stateDirectory === undefined)
  throw new Error('usage: worker.ts <state directory> <how many> [<uid> | stop]');
const driver = await openDriver(standInOptions(stateDirectory));
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (uid !== undefined) {
  const identity = { uid: Number(uid), gid: Number(uid) };
  say(await dropPrivileges(identity, { readable: [`${PROJECT_ROOT}src`], writable: [] }));
}
const starting = Array.from({ length: Number(count) }, () => startStandIn(driver, 'javascript'));
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
say({ sandboxes: started.map(({ sandbox }) => sandbox.id) });
setInterval(() => undefined, 60_000);
