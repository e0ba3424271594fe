import { readAll, writeAll } from './bytes.ts';
import type { Connection, DenoApi } from './deno.ts';
import { awaitClaim } from './gateways.ts';
import { takeRunner, type Runtime } from './local-runner.ts';

export interface RelayOptions {
  readonly runtime: Runtime;
  /** Where the runner of this pod connects to, on the loopback interface. */
  readonly runnerPort: number;
  /** Open once the runner is warm and some worker knows of it: the readiness of the pod. */
  readonly readyPort: number;
  /** Holds `address` (`host:port` of any worker's gateway) and `ca.crt` (PEM, of one or more authorities). */
  readonly gatewayFolder: string;
  /** The pod's token for the gateway; it is renewed from time to time. */
  readonly tokenFile: string;
  /** Whom the gateway's certificate has to be for, whatever its address. */
  readonly serverName: string;
  /** Is there once the runner has been claimed, for as long as the pod lives; nobody but the relay can reach it. */
  readonly usedFile: string;
}

/**
 * Serves as the runner's way out of the pod: registers it with the workers, and carries frames between it and the one
 * that claims it, which it does not look into. Resolves when that is over; then the pod is used up. Where Kubernetes starts
 * its containers again all the same, they ask to be deleted.
 *
 * @throws when the runner ends before
 */
export async function relay(deno: DenoApi, options: RelayOptions): Promise<void> {
  const { runtime, gatewayFolder } = options;
  const over = Promise.withResolvers<void>();
  const log = (message: string, fields: Readonly<Record<string, string>> = {}): void => {
    const line = JSON.stringify({ time: new Date().toISOString(), msg: message, ...fields });
    deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
  };

  const waiting = {
    runtime,
    anyAddress: () =>
      deno.readTextFile(`${gatewayFolder}/address`).then(
        (text) => text.trim() || undefined,
        () => undefined,
      ),
    token: async () => (await deno.readTextFile(options.tokenFile)).trim(),
    connect: async (address: string) =>
      connectTls(deno, address, await caOf(deno, gatewayFolder), options.serverName),
    log,
    now: () => performance.now(),
  };
  if (await isThere(deno, options.usedFile)) {
    log('this pod has been claimed before, and asks to be deleted');
    await awaitClaim({ ...waiting, isUsed: true });
    return;
  }

  const listener = deno.listen({ hostname: '127.0.0.1', port: options.runnerPort });
  const connection = await listener.accept();
  // Whoever else connects is not the runner.
  listener.close();
  connection.setNoDelay(true);
  let isClaimed = false;
  const runner = await takeRunner(connection, runtime, (reason) => {
    if (isClaimed) over.resolve();
    else over.reject(new Error(reason));
  });
  log('the runner is warm', { runtime });

  let isReady = false;
  const claiming = awaitClaim({
    ...waiting,
    ready: runner.ready,
    onRegistered() {
      if (isReady) return;
      isReady = true;
      void answerProbes(deno, options.readyPort);
    },
    onClaim: () => deno.writeTextFile(options.usedFile, ''),
  });
  const claim = await Promise.race([claiming, over.promise]);
  if (claim === undefined) return;
  isClaimed = true;
  runner.handTo((bytes) => writeAll(claim.connection, bytes));
  // However it ends: a worker that was killed says no goodbye.
  const ended = readAll(claim.connection, (bytes) => runner.write(bytes)).catch(() => undefined);
  await Promise.race([ended, over.promise]);
}

const isThere = (deno: DenoApi, path: string): Promise<boolean> =>
  deno.readTextFile(path).then(
    () => true,
    () => false,
  );

const caOf = (deno: DenoApi, folder: string): Promise<string> => deno.readTextFile(`${folder}/ca.crt`);

async function connectTls(
  deno: DenoApi,
  address: string,
  ca: string,
  serverName: string,
): Promise<Connection> {
  const { hostname, port } = new URL(`tcp://${address}`);
  const tcp = await deno.connect({ hostname: hostname.replace(/^\[|\]$/g, ''), port: Number(port) });
  tcp.setNoDelay(true);
  const connection = await deno.startTls(tcp, { hostname: serverName, caCerts: [ca] });
  await connection.handshake();
  return connection;
}

/** The kubelet asks by connecting. */
async function answerProbes(deno: DenoApi, port: number): Promise<void> {
  const listener = deno.listen({ hostname: '0.0.0.0', port });
  for (;;) (await listener.accept()).close();
}
