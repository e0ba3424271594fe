import assert from 'node:assert/strict';
import type { JsonValue } from '../../../src/core/json.ts';
import type { TakenOverInput } from '../../support/taken-over.ts';
import { checkAllDenied, outputObject, type Attack, type Surroundings } from './attack.ts';
import { forbiddenTargets } from './broker.ts';
import { KILLED_WITHIN_MS } from './exhaustion.ts';
import { checkEnvironment, checkKernel, ENVIRONMENT_TEXT, HOST_DOORS, KERNEL_TEXT } from './host.ts';
import { NETWORK_DOORS, targets } from './network.ts';
import { SIGNAL_DOORS } from './processes.ts';

/** Of what a taken-over runner is given; see `TakenOverInput`. */
export const takenOverInput = (input: Partial<TakenOverInput>): JsonValue => ({ ...input });

interface Takeover extends Pick<Attack, 'row' | 'name' | 'ends' | 'check' | 'withinMs' | 'heavy'> {
  /** Runs in the runner, with what `taken-over-runner.ts` has in scope. */
  readonly attack: string;
  readonly given?: (around: Surroundings) => JsonValue;
  readonly timeoutSeconds?: number;
}

const takeover = ({ attack, given, timeoutSeconds = 30, ...rest }: Takeover): Attack => ({
  withinMs: 60_000,
  ...rest,
  language: 'javascript',
  // Never run: the runner does what it wants.
  source: 'export default () => null;',
  input: (around) => takenOverInput({ attack, given: given?.(around) ?? null }),
  keys: () => ({ credentials: ['service'], timeout: `${timeoutSeconds}s` }),
});

const FORGED = JSON.stringify({ forged: 'forged by an attack' });
const NOBODY = `'0'.repeat(32)`;
const HONEST = JSON.stringify({ honest: true });

const wasLost = (logs: readonly { readonly message: string }[]): boolean =>
  logs.some(({ message }) => message.includes('The sandbox was lost'));

/** Ends its sandbox, is run again alone (SECURITY X10), does the same, and is blamed for it. */
const lostTwice = (name: string, attack: string, more: Pick<Takeover, 'given'> = {}): Attack =>
  takeover({
    row: 'X10',
    name,
    attack,
    ...more,
    ends: ['resource_limit'],
    check({ output, logs }) {
      assert.equal(output, null);
      assert.ok(wasLost(logs), 'it was not run again');
    },
  });

/** Sends something right first; what follows changes nothing of it. */
const afterTheResult = (name: string, attack: string, more: Pick<Takeover, 'given'> = {}): Attack =>
  takeover({
    row: 'X10',
    name,
    ...more,
    attack: `send({ type: 'result', nonce }, '${HONEST}');\n${attack}`,
    ends: ['succeeded'],
    check: ({ output }) => assert.deepEqual(output, { honest: true }),
  });

const FETCH = `{ type: 'fetch', fetch: 1, target: given, method: 'GET', headers: [], hasBody: false, redirect: 'follow' }`;
/** Nothing that is sent there may arrive. */
export const FORBIDDEN_PATH = '/sent-by-nobody';
const toService: Takeover['given'] = () => `service:${FORBIDDEN_PATH}`;

/** X10: what a runner may say to be taken for an honest one. */
const FORGERIES: readonly Attack[] = [
  lostTwice('a result of nobody’s is not taken', `send({ type: 'result', nonce: ${NOBODY} }, '${FORGED}');`),
  lostTwice('a log of nobody’s is not taken', `send({ type: 'log', nonce: ${NOBODY}, level: 'info' }, 'x');`),
  lostTwice('a fetch of nobody’s is not carried out', `send({ ...${FETCH}, nonce: ${NOBODY} });`, {
    given: toService,
  }),
  lostTwice(
    'a second `ready` is not taken',
    `send({ type: 'ready', protocol: 1, runtime: 'forged by an attack', slots: 16, kernel: 'gVisor' });`,
  ),
  lostTwice(
    'a program that nobody sent is not taken',
    `send({ type: 'program_ready', program: 'forged by an attack' });`,
  ),
  lostTwice('an answer that nobody asked for is not taken', `send({ type: 'pong', ping: 1 });`),
  lostTwice('a type of no frame is not taken', `send({ type: 'run', nonce });`),
  lostTwice('a header that is a list is not taken', `send(['result', nonce], '${FORGED}');`),
  lostTwice(
    'a header that is no JSON is not taken',
    `const head = new TextEncoder().encode('{"type":'); const bytes = new Uint8Array(8 + head.length); const view = new DataView(bytes.buffer);
view.setUint32(0, 4 + head.length); view.setUint32(4, head.length); bytes.set(head, 8); write(bytes);`,
  ),
  lostTwice(
    'a frame of 4 GB is not waited for',
    `write(new Uint8Array([255, 255, 255, 255, 255, 255, 255, 255]));`,
  ),
  lostTwice(
    'what is no frame is not taken',
    `write(new TextEncoder().encode('HTTP/1.1 200 OK\\r\\n\\r\\n'));`,
  ),
  lostTwice(
    'two fetches of one number are not taken',
    `send({ ...${FETCH}, nonce }); send({ ...${FETCH}, nonce });`,
    { given: () => 'service:/twice' },
  ),
  afterTheResult('two results give the first', `send({ type: 'result', nonce }, '${FORGED}');`),
  afterTheResult(
    'a failure after the result changes nothing',
    `send({ type: 'failed', nonce, failure: 'code_error' }, JSON.stringify({ name: 'Error', message: 'forged by an attack' }));`,
  ),
  afterTheResult('a fetch after the end is not carried out', `send({ ...${FETCH}, nonce });`, {
    given: toService,
  }),
  takeover({
    row: 'X09',
    name: 'a result that is no JSON is no result',
    attack: `send({ type: 'result', nonce }, '{"forged":');`,
    ends: ['invalid_output'],
  }),
  takeover({
    row: 'X08',
    name: 'a flood of logs is cut on the worker’s side',
    attack: `const text = 'x'.repeat(16000); for (let n = 0; n < 4000; n++) send({ type: 'log', nonce, level: 'info' }, text); return { honest: true };`,
    ends: ['succeeded'],
    check({ output, logs }) {
      assert.deepEqual(output, { honest: true });
      const bytes = logs.reduce((sum, { message }) => sum + message.length, 0);
      assert.ok(bytes > 100_000 && bytes < 1_300_000, `${bytes} bytes of logs were kept`);
    },
  }),
];

/** X10, X07: runners that end, or do not. */
const ENDS: readonly Attack[] = [
  lostTwice('a runner that exits is lost, and its step run again', 'Deno.exit(0);'),
  lostTwice(
    'a runner that exits as if it were out of memory is lost, and its step run again',
    'Deno.exit(137);',
  ),
  lostTwice('a runner that aborts is lost, and its step run again', 'process.abort();'),
  lostTwice('a runner that kills itself is lost, and its step run again', `Deno.kill(Deno.pid, 'SIGKILL');`),
  takeover({
    row: 'X07',
    name: 'a runner that never answers ends as timeout',
    attack: 'await new Promise(() => {});',
    timeoutSeconds: 2,
    ends: ['timeout'],
  }),
  takeover({
    row: 'X07',
    name: 'a runner that neither answers nor reads ends as timeout',
    attack: 'for (;;);',
    timeoutSeconds: 2,
    ends: ['timeout'],
  }),
];

/** X04, X05: runners that use up what there is. */
const BOMBS: readonly Attack[] = [
  takeover({
    row: 'X04',
    name: '10^5 threads end as resource_limit, or at the limit of memory',
    attack: `const all = []; for (let n = 0; n < 100000; n++) all.push(new Worker('data:text/javascript,setInterval(()=>{},1000)', { type: 'module' }));
await new Promise(() => {});`,
    ends: ['resource_limit', 'out_of_memory'],
    heavy: true,
  }),
  takeover({
    row: 'X05',
    name: 'a memory bomb of buffers ends as out_of_memory',
    attack: 'const kept = []; for (;;) kept.push(new Uint8Array(1 << 24).fill(1 + kept.length));',
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  }),
  takeover({
    row: 'X05',
    name: 'a memory bomb on the heap ends as out_of_memory, or with the runner',
    attack: 'const kept = []; for (;;) kept.push(new Array(100000).fill({ a: kept.length }));',
    ends: ['out_of_memory', 'resource_limit'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  }),
];

/** Doors of the sandbox and of the broker, tried by the runner itself. */
const DOORS: readonly Attack[] = [
  takeover({
    row: 'X01',
    name: 'nothing tells of another kernel than gVisor’s',
    attack: KERNEL_TEXT,
    ends: ['succeeded'],
    check: ({ output }) => checkKernel(output),
  }),
  takeover({
    row: 'X02',
    name: 'there is no file, process, library or permission',
    attack: HOST_DOORS,
    given: ({ files }) => ({ files: [...files] }),
    timeoutSeconds: 100,
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 120_000,
  }),
  takeover({
    row: 'X03',
    name: 'environment and command line are the declared ones',
    attack: ENVIRONMENT_TEXT,
    ends: ['succeeded'],
    check: ({ output }) => checkEnvironment(output),
  }),
  takeover({
    row: 'X06',
    name: 'no file can be written',
    attack: `const doors = {}; for (const path of ['/tmp/x', '/dev/shm/x', '/x']) {
  try { Deno.writeFileSync(path, new Uint8Array(1 << 20)); doors[path] = 'got: written'; } catch (error) { doors[path] = 'denied: ' + error.name; }
}
return doors;`,
    ends: ['succeeded'],
    check: checkAllDenied,
  }),
  takeover({
    row: 'X11',
    name: 'no network is reached',
    attack: NETWORK_DOORS,
    given: (around) => {
      const address = around.hostAddresses.find((one) => !one.includes(':')) ?? '127.0.0.1';
      return { ...targets(around), url: `http://${address}:${around.listenerPort}/` };
    },
    timeoutSeconds: 150,
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 170_000,
  }),
  takeover({
    row: 'X17',
    name: 'nothing can be signalled or started',
    attack: SIGNAL_DOORS,
    ends: ['succeeded'],
    check: checkAllDenied,
  }),
  takeover({
    row: 'X20',
    name: 'the broker gives the listed credential for its own service, and nothing else',
    attack: `const doors = {};
for (const target of given) { const answer = await ask(target); doors[target] = (/^\\d+$/.test(answer) ? 'got: ' : 'denied: ') + answer; }
return { doors, own: await ask('service:/ok') };`,
    given: (around) => [...forbiddenTargets(around)],
    ends: ['succeeded'],
    check(seen) {
      const { doors, own } = outputObject(seen.output);
      assert.equal(own, '200');
      checkAllDenied({ ...seen, output: doors ?? null });
    },
  }),
];

/** What code does that owns the runner of its sandbox, in every row that has something to lose to it. */
export const TAKEN_OVER_ATTACKS: readonly Attack[] = [...FORGERIES, ...ENDS, ...BOMBS, ...DOORS];
