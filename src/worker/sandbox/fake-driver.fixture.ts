import type { Runtime, SandboxDriver, SandboxSpec } from './driver.ts';
import { createFakeSandbox, type FakeSandbox, type RunnerScript } from './fake-sandbox.fixture.ts';

export interface FakeDriver extends SandboxDriver {
  readonly started: readonly FakeSandbox[];
  readonly specs: readonly SandboxSpec[];
  /** The most that ran at once. */
  mostAlive(): number;
  alive(): number;
  isClosed(): boolean;
  /** Makes the next starts fail until it is undefined again. */
  failure: Error | undefined;
  tries: number;
}

/** Starts fake sandboxes, each after `startMs`. */
export function createFakeDriver(
  options: {
    readonly script?: RunnerScript;
    readonly startMs?: number;
    readonly runtimes?: readonly Runtime[];
  } = {},
): FakeDriver {
  const started: FakeSandbox[] = [];
  const specs: SandboxSpec[] = [];
  let alive = 0;
  let most = 0;
  let closed = false;
  return {
    description: { driver: 'process', isolation: 'none at all' },
    runtimes: new Set(options.runtimes ?? ['javascript', 'python']),
    started,
    specs,
    failure: undefined,
    tries: 0,
    alive: () => alive,
    mostAlive: () => most,
    isClosed: () => closed,
    async start(spec) {
      this.tries++;
      if (this.failure !== undefined) throw this.failure;
      most = Math.max(most, ++alive);
      if (options.startMs !== undefined) await new Promise((resolve) => setTimeout(resolve, options.startMs));
      const sandbox = createFakeSandbox(options.script);
      void sandbox.exited.then(() => alive--);
      started.push(sandbox);
      specs.push(spec);
      return sandbox;
    },
    async close() {
      closed = true;
      for (const sandbox of started) sandbox.kill();
      await Promise.all(started.map(({ exited }) => exited));
    },
  };
}
