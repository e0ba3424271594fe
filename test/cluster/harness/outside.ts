import { readFile } from 'node:fs/promises';
import { createProcesses } from '../../support/processes.ts';
import { run, runWell } from './run.ts';

/**
 * The world outside of the cluster, as a network namespace with addresses that are public, private, and of a cloud's
 * metadata: whoever gets there has left the cluster. Nothing of it shows on the machine's own network.
 */
export interface Outside {
  readonly internet: string;
  readonly privateNetwork: string;
  readonly metadata: string;
  /** Ports on which something answers there. */
  readonly ports: readonly number[];
  close(): Promise<void>;
}

const SPACE = 'millrace-outside';
const LINK = 'outside0';
const INTERNET = '93.184.215.14';
const PRIVATE = '172.20.30.40';
const METADATA = '169.254.169.254';
/** Of the link between the node and the namespace. */
const NEAR = '172.20.31.1';
const FAR = '172.20.31.2';
const PORTS = [80, 443, 5432];

const LISTEN = `for (const port of [${PORTS.join(', ')}]) require('node:net').createServer((socket) => socket.end()).listen(port, '0.0.0.0', () => console.log('listens on ' + port));`;

/** Needs the kit's own node, in whose network the way out is laid. */
export async function openOutside(): Promise<Outside> {
  const unshare = (await readFile('/var/lib/millrace-cluster/pid', 'utf8')).trim();
  const node = (await runWell(['pgrep', '-P', unshare])).trim();
  const inNode = (...args: readonly string[]): Promise<string> =>
    runWell(['nsenter', '--target', node, '--net', ...(args as [string, ...string[]])]);
  const outside = (...args: readonly string[]): Promise<string> =>
    runWell(['ip', 'netns', 'exec', SPACE, ...(args as [string, ...string[]])]);
  const processes = createProcesses();
  const close = async (): Promise<void> => {
    await processes.killAll();
    await run(['ip', 'netns', 'delete', SPACE]); // takes the link along
  };
  await run(['ip', 'netns', 'delete', SPACE]); // of a run that was cut off
  try {
    await runWell(['ip', 'netns', 'add', SPACE]);
    await runWell([
      'ip',
      'link',
      'add',
      LINK,
      'netns',
      SPACE,
      'type',
      'veth',
      'peer',
      'name',
      LINK,
      'netns',
      node,
    ]);
    await outside('ip', 'link', 'set', 'lo', 'up');
    await outside('ip', 'address', 'add', `${FAR}/30`, 'dev', LINK);
    await outside('ip', 'link', 'set', LINK, 'up');
    await inNode('ip', 'address', 'add', `${NEAR}/30`, 'dev', LINK);
    await inNode('ip', 'link', 'set', LINK, 'up');
    await outside('ip', 'route', 'add', 'default', 'via', NEAR);
    for (const address of [INTERNET, PRIVATE, METADATA]) {
      await outside('ip', 'address', 'add', `${address}/32`, 'dev', 'lo');
      await inNode('ip', 'route', 'replace', `${address}/32`, 'via', FAR, 'dev', LINK);
    }
    const listener = processes.start(['ip', 'netns', 'exec', SPACE, process.execPath, '--eval', LISTEN]);
    for (const port of PORTS) await listener.waitForOutput(new RegExp(`listens on ${port}\\b`));
  } catch (error) {
    await close();
    throw error;
  }
  return { internet: INTERNET, privateNetwork: PRIVATE, metadata: METADATA, ports: PORTS, close };
}
