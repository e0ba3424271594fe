import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import { retryableError } from '../../../core/step-error.ts';
import {
  RUNTIMES,
  type Runtime,
  type Sandbox,
  type SandboxDriver,
  type SandboxExit,
  type SandboxLimits,
} from '../driver.ts';
import { limitsKey } from '../pool/state.ts';
import { acceptRunner, type PodIdentity, type RunnerConnection } from './runner-connection.ts';

const START_TIMEOUT_MS = 30_000;
const REGISTER_TIMEOUT_MS = 10_000;
const CLAIM_TIMEOUT_MS = 5000;
const PING_MS = 15_000;
const KEEP_ALIVE_MS = 30_000;
/** For longer than the life of any token that a pod was given: one that was used never registers again. */
const USED_FOR_MS = 7_200_000;
const MAX_CONNECTIONS = 2000;

export interface GatewayOptions {
  /** Key and certificate for the name that runners verify. */
  readonly tls: SecureContextOptions;
  readonly port: number;
  readonly host?: string;
  /**
   * Who shows this token (a TokenReview, audience `millrace-runner`), if that pod may take work: it has to refuse pods
   * that another worker has claimed. Undefined refuses.
   */
  readonly authenticate: (token: string) => Promise<PodIdentity | undefined>;
  readonly deletePod: (pod: PodIdentity) => Promise<void>;
  /** `host:port` of every worker's gateway, told to each runner. */
  readonly gateways: () => readonly string[];
  /** What a runner pod has; others cannot be set. */
  readonly limits: SandboxLimits;
  readonly logger: Logger;
  readonly startTimeoutMs?: number;
  readonly registerTimeoutMs?: number;
  readonly claimTimeoutMs?: number;
  readonly pingMs?: number;
}

export interface Gateway {
  /** Its sandboxes are runner pods that dialled in; use it with a pool that keeps no spares: these wait here. */
  readonly driver: SandboxDriver;
  readonly port: number;
  idle(runtime: Runtime): number;
}

/** Listens for the runners of the cluster (DESIGN section 9). @throws when it cannot listen */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger, deletePod } = options;
  const idle: RunnerConnection[] = [];
  const connected = new Set<string>();
  const used = new Map<string, number>();
  const sockets = new Set<TLSSocket>();
  const sandboxes = new Set<Sandbox>();
  const waiters: {
    readonly runtime: Runtime;
    readonly resolve: (runner: RunnerConnection | undefined) => void;
  }[] = [];
  let isClosed = false;

  const offer = (runner: RunnerConnection): void => {
    const at = waiters.findIndex(({ runtime }) => runtime === runner.runtime);
    const [waiter] = at < 0 ? [] : waiters.splice(at, 1);
    if (waiter === undefined) idle.push(runner);
    else waiter.resolve(runner);
  };
  const refusal = (pod: PodIdentity): string | undefined => {
    const now = performance.now();
    for (const [uid, atMs] of used) {
      if (now - atMs < USED_FOR_MS) break; // in the order of time
      used.delete(uid);
    }
    if (used.has(pod.uid)) return 'this pod was used already';
    return connected.has(pod.uid) ? 'this pod is registered already' : undefined;
  };
  const accept = (socket: TLSSocket): void => {
    let registered: RunnerConnection | undefined;
    sockets.add(socket);
    socket.on('error', () => undefined); // `close` follows
    socket.on('close', () => {
      sockets.delete(socket);
      if (registered === undefined) return;
      connected.delete(registered.pod.uid);
      remove(idle, registered);
    });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    acceptRunner(
      socket,
      {
        authenticate: options.authenticate,
        refusal,
        gateways: options.gateways,
        onRegistered(runner) {
          registered = runner;
          connected.add(runner.pod.uid);
          offer(runner);
        },
        onDropped: (reason) =>
          logger.debug(
            { address: socket.remoteAddress, pod: registered?.pod.name, reason },
            'a runner was dropped',
          ),
      },
      { registerMs: options.registerTimeoutMs ?? REGISTER_TIMEOUT_MS, pingMs: options.pingMs ?? PING_MS },
    );
  };
  /** @returns undefined when none comes in time */
  const take = (runtime: Runtime, ms: number): Promise<RunnerConnection | undefined> => {
    const runner = idle.find((one) => one.runtime === runtime);
    if (runner !== undefined) {
      remove(idle, runner);
      return Promise.resolve(runner);
    }
    return new Promise((resolve) => {
      const waiter = {
        runtime,
        resolve(found: RunnerConnection | undefined) {
          clearTimeout(timer);
          resolve(found);
        },
      };
      const timer = setTimeout(() => {
        remove(waiters, waiter);
        resolve(undefined);
      }, ms);
      waiters.push(waiter);
    });
  };
  const start = async (runtime: Runtime): Promise<Sandbox> => {
    const startTimeoutMs = options.startTimeoutMs ?? START_TIMEOUT_MS;
    const deadline = performance.now() + startTimeoutMs;
    for (;;) {
      const left = deadline - performance.now();
      const runner = left > 0 && !isClosed ? await take(runtime, left) : undefined;
      if (runner === undefined) {
        throw new Error(
          `no ${runtime} runner was free within ${startTimeoutMs} ms; more are needed in the warm pool`,
        );
      }
      // Whatever it answers, it is never again a runner that nobody has used.
      used.set(runner.pod.uid, performance.now());
      const answer = await runner.claim(options.claimTimeoutMs ?? CLAIM_TIMEOUT_MS);
      if (answer === 'claimed') return adopt(runner);
    }
  };
  const adopt = ({ pod, socket }: RunnerConnection): Sandbox => {
    const sandbox = sandboxOf(pod, socket, async () => {
      try {
        await deletePod(pod);
      } catch (raw) {
        logger.warn({ err: coerceError(raw), pod: pod.name }, 'a runner pod could not be deleted');
      }
      sandboxes.delete(sandbox);
    });
    sandboxes.add(sandbox);
    if (isClosed) sandbox.kill();
    return sandbox;
  };

  const server = createServer({ ...options.tls, minVersion: 'TLSv1.3', handshakeTimeout: 5000 }, accept);
  server.maxConnections = MAX_CONNECTIONS;
  server.on('tlsClientError', () => undefined); // whoever does not speak TLS is gone
  server.listen(options.port, options.host);
  await once(server, 'listening');

  return {
    port: (server.address() as AddressInfo).port, // it listens on TCP
    idle: (runtime) => idle.filter((one) => one.runtime === runtime).length,
    driver: {
      description: { driver: 'kubernetes', isolation: 'runner pods of runtime class gvisor' },
      runtimes: new Set(RUNTIMES),
      async start({ runtime, limits }) {
        if (limitsKey(limits) !== limitsKey(options.limits)) throw fixedLimits();
        return start(runtime);
      },
      async close() {
        isClosed = true;
        server.close();
        for (const waiter of waiters.splice(0)) waiter.resolve(undefined);
        // Idle runners stay with the other workers; those that were used are of no use to anybody.
        const ends = [...sandboxes].map((sandbox) => sandbox.exited);
        for (const socket of sockets) socket.destroy();
        await Promise.all(ends);
      },
    },
  };
}

/** @param onGone resolves when its pod is told to go */
function sandboxOf(pod: PodIdentity, socket: TLSSocket, onGone: () => Promise<void>): Sandbox {
  const exited = Promise.withResolvers<SandboxExit>();
  let isKilled = false;
  const gone = (): void => {
    void onGone().then(() =>
      exited.resolve({
        reason: isKilled ? 'killed' : 'exited',
        detail: isKilled ? `pod ${pod.name} was deleted` : `pod ${pod.name} hung up`,
      }),
    );
  };
  if (socket.destroyed) gone();
  else socket.once('close', gone);
  return {
    id: pod.name,
    channel: socket,
    exited: exited.promise,
    kill() {
      isKilled = true;
      socket.destroy();
    },
    setLimits: () => Promise.reject(fixedLimits()),
    share: () =>
      Promise.reject(
        retryableError(
          'no_sandbox',
          'Python packages cannot be handed to runner pods yet: they have no folder in common with the worker.',
        ),
      ),
    memoryBytes: () => Promise.resolve(undefined),
  };
}

const fixedLimits = (): Error => new Error('the limits of a runner pod are those of its Deployment');

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}
