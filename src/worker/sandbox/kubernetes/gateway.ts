import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import {
  RUNTIMES,
  type Runtime,
  type Sandbox,
  type SandboxDriver,
  type SandboxExit,
  type SandboxSpec,
} from '../driver.ts';
import { KubernetesError } from './api.ts';
import { acceptRunner, type DialledRuntime, type RunnerConnection } from './runner-connection.ts';
import { IMAGE_POOL, PACKAGES_INSIDE } from './names.ts';
import type { RunnerPod, RunnerPods } from './runner-pods.ts';
import { sendFolder } from './send-folder.ts';

const MIN_VERSION = 'TLSv1.3';
const START_TIMEOUT_MS = 30_000;
const REGISTER_TIMEOUT_MS = 10_000;
const CLAIM_TIMEOUT_MS = 5000;
/**
 * With its label gone, the Deployment starts another pod, which keeps a processor busy for a second: the step for which
 * this one was claimed goes first.
 */
const MARK_AFTER_MS = 300;
const MARK_AGAIN_MS = 1000;
const PING_MS = 15_000;
const KEEP_ALIVE_MS = 30_000;
const MAX_CONNECTIONS = 2000;
/** A runner needs one, and two while one of them is being given up. */
const MAX_CONNECTIONS_OF_ADDRESS = 8;

export interface GatewayOptions {
  /** Key and certificate for the name that runners verify. */
  readonly tls: SecureContextOptions;
  readonly port: number;
  readonly host?: string;
  readonly pods: Pick<RunnerPods, 'authenticate' | 'identify' | 'claim' | 'createCold' | 'remove'>;
  /** `host:port` under which runners reach this gateway. */
  readonly self: string;
  readonly logger: Logger;
  readonly startTimeoutMs?: number | undefined;
  readonly registerTimeoutMs?: number;
  readonly claimTimeoutMs?: number;
  readonly markAfterMs?: number;
  readonly markAgainMs?: number;
  readonly pingMs?: number;
}

export interface Gateway {
  /** Its sandboxes are runner pods that dialled in; use it with a pool that keeps no spares: these wait here. */
  readonly driver: SandboxDriver;
  readonly port: number;
  idle(runtime: Runtime): number;
  /**
   * Waits for a pod that this worker has made, and takes it over. From now on it is held.
   *
   * @param options.inquest asked when it hangs up by itself: how it ended, which only Kubernetes knows
   * @throws when the signal is aborted, or the pod cannot be claimed; then it is not held any more, and is the caller's to remove
   */
  takePod(uid: string, options: TakeOptions): Promise<Sandbox>;
  /** Whether the sandbox of that pod is this worker's. */
  holds(uid: string): boolean;
  /** Uses another key and certificate from the next connection on. */
  setCertificate(tls: SecureContextOptions): void;
  /** `host:port` of every worker's gateway, told to each runner that waits. */
  setGateways(gateways: readonly string[]): void;
}

export interface TakeOptions {
  readonly signal: AbortSignal;
  readonly inquest: () => Promise<Pick<SandboxExit, 'reason' | 'detail'> | undefined>;
}

interface Waiter {
  readonly accepts: (runner: RunnerConnection) => boolean;
  readonly resolve: (runner: RunnerConnection | undefined) => void;
}

/** Listens for the runners of the cluster (DESIGN section 9). @throws when it cannot listen */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger, pods } = options;
  const idle: RunnerConnection[] = [];
  const connected = new Set<string>();
  const sockets = new Set<TLSSocket>();
  const sandboxes = new Set<Sandbox>();
  const held = new Set<string>();
  const awaited = new Set<string>();
  const perAddress = new Map<string | undefined, number>();
  const waiters: Waiter[] = [];
  let gateways: readonly string[] = [options.self];
  let isClosed = false;

  const offer = (runner: RunnerConnection): void => {
    const at = waiters.findIndex(({ accepts }) => accepts(runner));
    const [waiter] = at < 0 ? [] : waiters.splice(at, 1);
    if (waiter === undefined) idle.push(runner);
    else waiter.resolve(runner);
  };
  /** A pod that anybody has claimed is not authenticated at all. */
  const refusal = ({ uid, pool }: RunnerPod, runtime: DialledRuntime): string | undefined => {
    if ((pool === IMAGE_POOL) !== (runtime === 'image')) return `this pod is not for ${runtime}`;
    return connected.has(uid) || held.has(uid) ? 'this pod is registered already' : undefined;
  };
  const accept = (socket: TLSSocket): void => {
    let registered: RunnerConnection | undefined;
    const { remoteAddress } = socket;
    sockets.add(socket);
    socket.on('error', () => undefined); // `close` follows
    socket.on('close', () => {
      sockets.delete(socket);
      const left = (perAddress.get(remoteAddress) ?? 1) - 1;
      if (left === 0) perAddress.delete(remoteAddress);
      else perAddress.set(remoteAddress, left);
      if (registered === undefined) return;
      connected.delete(registered.pod.uid);
      remove(idle, registered);
    });
    perAddress.set(remoteAddress, (perAddress.get(remoteAddress) ?? 0) + 1);
    if (perAddress.get(remoteAddress)! > MAX_CONNECTIONS_OF_ADDRESS) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    acceptRunner(
      socket,
      {
        authenticate: pods.authenticate,
        refusal,
        self: options.self,
        gateways: () => gateways,
        onRegistered(runner) {
          registered = runner;
          connected.add(runner.pod.uid);
          offer(runner);
        },
        async onUsed(token) {
          const pod = await pods.identify(token);
          if (pod === undefined) return;
          logger.info({ pod: pod.name }, 'a runner pod that was used before is deleted');
          await discard(pod);
        },
        onDropped: (reason) =>
          logger.debug({ address: remoteAddress, pod: registered?.pod.name, reason }, 'a runner was dropped'),
      },
      { registerMs: options.registerTimeoutMs ?? REGISTER_TIMEOUT_MS, pingMs: options.pingMs ?? PING_MS },
    );
  };
  const findIdle = (accepts: Waiter['accepts']): RunnerConnection | undefined => {
    const runner = idle.find(accepts);
    if (runner !== undefined) remove(idle, runner);
    return runner;
  };
  /** @returns undefined when none comes in time */
  const waitFor = (accepts: Waiter['accepts'], signal: AbortSignal): Promise<RunnerConnection | undefined> =>
    new Promise((resolve) => {
      const giveUp = (): void => {
        remove(waiters, waiter);
        resolve(undefined);
      };
      const waiter = {
        accepts,
        resolve(found: RunnerConnection | undefined) {
          signal.removeEventListener('abort', giveUp);
          resolve(found);
        },
      };
      waiters.push(waiter);
      signal.addEventListener('abort', giveUp, { once: true });
      if (signal.aborted) giveUp();
    });
  /**
   * Makes it this worker's: its relay, which no code reaches, says yes to one worker in the life of its pod (decision 10).
   *
   * @returns false when it is gone, or another's
   */
  const claim = async (runner: RunnerConnection): Promise<boolean> => {
    const { pod, socket } = runner;
    held.add(pod.uid);
    if ((await runner.claim(options.claimTimeoutMs ?? CLAIM_TIMEOUT_MS)) === 'claimed') return true;
    socket.destroy();
    held.delete(pod.uid); // what has said yes too late finds that it was used, and asks to be deleted
    return false;
  };
  /** Writes down in Kubernetes whose it is, so that the Deployment makes another, and the sweep knows. */
  const mark = async (pod: RunnerPod, sandbox: Sandbox): Promise<void> => {
    await pause(options.markAfterMs ?? MARK_AFTER_MS);
    while (sandboxes.has(sandbox)) {
      try {
        await pods.claim(pod);
        return;
      } catch (raw) {
        if (!sandboxes.has(sandbox)) return;
        const isRefused = raw instanceof KubernetesError && raw.status < 500 && raw.status !== 429;
        logger.warn({ err: coerceError(raw), pod: pod.name, isRefused }, 'a runner pod could not be marked');
        if (isRefused) sandbox.kill();
        else await pause(options.markAgainMs ?? MARK_AGAIN_MS);
      }
    }
  };
  const discard = async (pod: Pick<RunnerPod, 'uid' | 'name'>): Promise<void> => {
    try {
      await pods.remove(pod);
    } catch (raw) {
      logger.warn({ err: coerceError(raw), pod: pod.name }, 'a runner pod could not be deleted');
    }
    held.delete(pod.uid); // what is left of it, the sweep finds
  };
  const start = async (spec: SandboxSpec): Promise<Sandbox> => {
    const startTimeoutMs = options.startTimeoutMs ?? START_TIMEOUT_MS;
    const accepts = (runner: RunnerConnection): boolean => serves(runner, spec);
    const deadline = performance.now() + startTimeoutMs;
    let cold: Promise<void> | undefined;
    let coldFailure = '';
    for (;;) {
      let runner = isClosed ? undefined : findIdle(accepts);
      const isWarm = runner !== undefined;
      const left = deadline - performance.now();
      if (runner === undefined && left > 0 && !isClosed) {
        // Whoever comes first: one of the pool, or this one, which is another claim's then.
        cold ??= pods.createCold(spec.runtime, spec.limits).then(
          (uid) => logger.debug({ pod: uid }, 'no runner was ready; another was started'),
          (raw: unknown) => {
            coldFailure = `; starting another failed: ${coerceError(raw).message}`;
            logger.warn({ err: coerceError(raw) }, 'a runner pod could not be started');
          },
        );
        runner = await waitFor(accepts, AbortSignal.timeout(Math.ceil(left)));
      }
      if (runner === undefined) {
        throw new Error(
          `no ${spec.runtime} runner was ready within ${startTimeoutMs} ms; more are needed in the warm pool${coldFailure}`,
        );
      }
      if (await claim(runner)) return adopt(runner, isWarm);
    }
  };
  const takePod = async (uid: string, { signal, inquest }: TakeOptions): Promise<Sandbox> => {
    const accepts = ({ pod }: RunnerConnection): boolean => pod.uid === uid;
    awaited.add(uid);
    try {
      const runner = isClosed ? undefined : (findIdle(accepts) ?? (await waitFor(accepts, signal)));
      signal.throwIfAborted();
      if (runner === undefined || !(await claim(runner))) throw new Error('the pod could not be claimed');
      return adopt(runner, false, inquest);
    } finally {
      awaited.delete(uid);
    }
  };
  const adopt = (
    { pod, socket }: RunnerConnection,
    isWarm: boolean,
    inquest: TakeOptions['inquest'] = async () => undefined,
  ): Sandbox => {
    const sandbox = sandboxOf({ pod, socket, isWarm }, async (isKilled) => {
      const found = isKilled ? undefined : await inquest();
      await discard(pod);
      sandboxes.delete(sandbox);
      return found;
    });
    sandboxes.add(sandbox);
    void mark(pod, sandbox);
    if (isClosed) sandbox.kill();
    return sandbox;
  };

  const server = createServer({ ...options.tls, minVersion: MIN_VERSION, handshakeTimeout: 5000 }, accept);
  server.maxConnections = MAX_CONNECTIONS;
  server.on('tlsClientError', () => undefined); // whoever does not speak TLS is gone
  server.listen(options.port, options.host);
  await once(server, 'listening');

  return {
    port: (server.address() as AddressInfo).port, // it listens on TCP
    idle: (runtime) => idle.filter((one) => one.runtime === runtime).length,
    takePod,
    holds: (uid) => held.has(uid) || awaited.has(uid),
    setCertificate: (tls) => server.setSecureContext({ ...tls, minVersion: MIN_VERSION }),
    setGateways(changed) {
      gateways = changed;
      for (const runner of idle) runner.tell(gateways);
    },
    driver: {
      spares: () => idle.filter((one) => one.runtime !== 'image').length,
      description: { driver: 'kubernetes', isolation: 'runner pods of runtime class gvisor' },
      runtimes: new Set(RUNTIMES),
      start,
      async close() {
        isClosed = true;
        server.close();
        for (const waiter of waiters.splice(0)) waiter.resolve(undefined);
        // Idle runners stay with the other workers; those that were used are of no use to anybody.
        const ends = [...sandboxes].map((sandbox) => sandbox.exited);
        for (const sandbox of sandboxes) sandbox.kill();
        for (const socket of sockets) socket.destroy();
        await Promise.all(ends);
      },
    },
  };
}

/** The number of processes is the kubelet's affair: a pod has no say in it. */
const serves = ({ runtime, pod }: RunnerConnection, spec: SandboxSpec): boolean =>
  runtime === spec.runtime &&
  pod.limits.memoryBytes === spec.limits.memoryBytes &&
  pod.limits.cpus === spec.limits.cpus;

/** @param onGone resolves when its pod is told to go; to how it ended, where that is known */
function sandboxOf(
  { pod, socket, isWarm }: { readonly pod: RunnerPod; readonly socket: TLSSocket; readonly isWarm: boolean },
  onGone: (isKilled: boolean) => Promise<Pick<SandboxExit, 'reason' | 'detail'> | undefined>,
): Sandbox {
  const exited = Promise.withResolvers<SandboxExit>();
  let isKilled = false;
  const gone = (): void => {
    const wasKilled = isKilled;
    void onGone(wasKilled).then((found) =>
      exited.resolve(
        found ?? {
          reason: wasKilled ? 'killed' : 'exited',
          detail: wasKilled ? `pod ${pod.name} was deleted` : `pod ${pod.name} hung up`,
        },
      ),
    );
  };
  if (socket.destroyed) gone();
  else socket.once('close', gone);
  return {
    id: pod.name,
    isWarm,
    channel: socket,
    exited: exited.promise,
    kill() {
      isKilled = true;
      socket.destroy();
    },
    setLimits: () => Promise.reject(fixedLimits()),
    async share(name, folder) {
      const inside = `${PACKAGES_INSIDE}/${name}`;
      await sendFolder(socket, folder, inside);
      return inside;
    },
    memoryBytes: () => Promise.resolve(undefined),
  };
}

/** Keeps no process alive. */
const pause = (ms: number): Promise<void> => delay(ms, undefined, { ref: false });

const fixedLimits = (): Error => new Error('the limits of a runner pod are those it was started with');

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}
