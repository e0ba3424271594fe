import { createFrameDecoder, encodeFrame } from '../../src/core/sandbox/frames.ts';
import type { RunnerHeader, RunPayload, WorkerHeader } from '../../src/core/sandbox/protocol.ts';
import { createAssembly, type Assembly } from '../../src/runner/javascript/assembly.ts';
import { denoApi } from '../../src/runner/javascript/deno.ts';
import { PROTOCOL_VERSION, SLOTS } from '../../src/runner/javascript/limits.ts';
import type { TakenOverInput } from './taken-over.ts';

/**
 * Runs in place of the JavaScript runner, and speaks as an honest one does, but what a run is given as `attack` runs here:
 * code that has left its context, its slot and the runner behind, that owns the channel and knows the nonce.
 */

type Header<T extends WorkerHeader['type']> = Extract<WorkerHeader, { readonly type: T }>;

/** What an attack has in scope. */
interface Loot {
  readonly given: unknown;
  readonly nonce: string;
  /** Sends a frame, right or wrong. */
  readonly send: (header: object, payload?: string) => void;
  /** Sends bytes that need not be a frame. */
  readonly write: (bytes: Uint8Array) => void;
  /** Asks the broker, as `ctx.fetch` does; gives the status, or the code of the refusal. */
  readonly ask: (target: string) => Promise<string>;
}

const deno = denoApi();
const assemblies = new Map<string, Assembly>();
const asked = new Map<string, (answer: string) => void>();
const fetches = new Map<string, number>();

const write = (bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length;) at += deno.stdout.writeSync(bytes.subarray(at));
};
const send = (header: object, payload = ''): void =>
  write(encodeFrame(header, new TextEncoder().encode(payload)));
const say = (header: RunnerHeader, payload = ''): void => send(header, payload);

function ask(nonce: string, target: string): Promise<string> {
  const fetch = (fetches.get(nonce) ?? 0) + 1;
  fetches.set(nonce, fetch);
  say({
    type: 'fetch',
    nonce,
    fetch,
    target,
    method: 'GET',
    headers: [],
    hasBody: false,
    redirect: 'follow',
  });
  return new Promise((resolve) => asked.set(`${nonce} ${fetch}`, resolve));
}

/** `attack` is the body of an async function with {@link Loot} in scope. */
async function runAttack(attack: string, loot: Loot): Promise<unknown> {
  const text = `export default async ({ given, nonce, send, write, ask }) => {${attack}\n};`;
  const module = (await import(`data:text/javascript,${encodeURIComponent(text)}`)) as {
    readonly default: (loot: Loot) => Promise<unknown>;
  };
  return module.default(loot);
}

async function run(nonce: string, payload: Uint8Array): Promise<void> {
  const { input } = JSON.parse(new TextDecoder().decode(payload)) as RunPayload;
  const { attack, given, good, waitMs = 0 } = (input ?? {}) as Partial<TakenOverInput>;
  try {
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    // Spares are warmed with a text, which is given back.
    const output =
      attack === undefined
        ? (good ?? input)
        : await runAttack(attack, { given, nonce, send, write, ask: (target) => ask(nonce, target) });
    if (output !== undefined) say({ type: 'result', nonce }, JSON.stringify(output));
  } catch (error) {
    const { name, message } = error as Error;
    say({ type: 'failed', nonce, failure: 'code_error' }, JSON.stringify({ name, message }));
  }
}

function assemble(id: string, bytes: number, onWhole: (whole: Uint8Array) => void): void {
  const assembly = createAssembly(bytes, onWhole);
  assemblies.set(id, assembly);
  assembly.push(new Uint8Array(0));
}

function answer({ nonce, fetch, ...rest }: Header<'fetch_head' | 'fetch_failed'>): void {
  asked.get(`${nonce} ${fetch}`)?.(rest.type === 'fetch_head' ? String(rest.status) : rest.code);
}

/** What it does not know, such as `cancel`, it does not care for. */
function receive(header: WorkerHeader, payload: Uint8Array): void {
  if (header.type === 'program') {
    assemble(header.program, header.bytes, () => say({ type: 'program_ready', program: header.program }));
  } else if (header.type === 'run') {
    assemble(header.nonce, header.bytes, (whole) => void run(header.nonce, whole));
  } else if (header.type === 'part') {
    assemblies.get(header.of)?.push(payload);
  } else if (header.type === 'fetch_head' || header.type === 'fetch_failed') {
    answer(header);
  }
}

// What an attack throws later must not end it before it has done its worst.
const realm = globalThis as unknown as EventTarget; // as in a browser
realm.addEventListener('error', (event) => event.preventDefault());
realm.addEventListener('unhandledrejection', (event) => event.preventDefault());

say({ type: 'ready', protocol: PROTOCOL_VERSION, runtime: 'taken over', slots: SLOTS, kernel: '' });
const decoder = createFrameDecoder();
const buffer = new Uint8Array(65_536);
for (;;) {
  const length = await deno.stdin.read(buffer);
  if (length === null) break;
  for (const { header, payload } of decoder.push(buffer.subarray(0, length))) {
    receive(header as WorkerHeader, payload);
  }
}
