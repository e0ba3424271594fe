import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createFrameDecoder } from '../../src/core/sandbox/frames.ts';
import { openSandboxDriver } from '../../src/worker/sandbox/open-driver.ts';
import { cacheDirectory } from './cache-directory.ts';

/**
 * Runs JavaScript in place of the runner, in a sandbox of gVisor: what an attacker has who has left the context, its slot
 * and the runner behind. `text` is the body of an async function with `given` in scope; gives what it returns.
 */
export async function runTakenOver(text: string, given: object): Promise<unknown> {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'millrace-taken-'));
  const driver = await openSandboxDriver({
    driver: 'gvisor',
    environment: 'development',
    cacheDirectory: cacheDirectory(),
    stateDirectory,
    path: process.env['PATH'] ?? '/usr/bin:/bin',
    logger: pino({ level: 'silent' }),
    ...(process.env['MILLRACE_RUNSC'] === undefined ? {} : { runscPath: process.env['MILLRACE_RUNSC'] }),
    bundleJavaScriptRunner: () => Promise.resolve(programOf(text, given)),
  });
  try {
    if (driver.description === undefined) throw new Error(`${driver.reason}; ${driver.remedy}`);
    const sandbox = await driver.start({
      runtime: 'javascript',
      limits: { memoryBytes: 256 * 1_048_576, cpus: 1, pids: 256 },
    });
    const decoder = createFrameDecoder();
    for await (const chunk of sandbox.channel as AsyncIterable<Uint8Array>) {
      const [frame] = decoder.push(chunk);
      if (frame !== undefined) return JSON.parse(Buffer.from(frame.payload).toString());
    }
    throw new Error(`the program ended without a word: ${JSON.stringify(await sandbox.exited)}`);
  } finally {
    if (driver.description !== undefined) await driver.close();
    await rm(stateDirectory, { recursive: true, force: true });
  }
}

const programOf = (text: string, given: object): string => `
const given = ${JSON.stringify(given)};
// What a library throws later must not end the program before it has told.
addEventListener('error', (event) => event.preventDefault());
addEventListener('unhandledrejection', (event) => event.preventDefault());
globalThis.process?.on?.('uncaughtException', () => {});
const told = await (async () => {${text}})().catch((error) => ({ failed: String(error) }));
const head = new TextEncoder().encode('{}');
const body = new TextEncoder().encode(JSON.stringify(told));
const bytes = new Uint8Array(8 + head.length + body.length);
new DataView(bytes.buffer).setUint32(0, 4 + head.length + body.length);
new DataView(bytes.buffer).setUint32(4, head.length);
bytes.set(head, 8);
bytes.set(body, 8 + head.length);
for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
`;
