import { denoApi, type DenoApi } from './deno.ts';
import type { Runtime } from './local-runner.ts';
import { relay } from './relay.ts';

const RUNTIMES: readonly Runtime[] = ['javascript', 'python', 'image'];
const USAGE =
  'usage: relay.mjs javascript|python|image RUNNER_PORT READY_PORT GATEWAY_FOLDER TOKEN_FILE SERVER_NAME USED_FILE\n';

/** The relay of a runner's pod: ends with what it carries. */
async function main(deno: DenoApi): Promise<never> {
  const [name, runnerPort, readyPort, gatewayFolder, tokenFile, serverName, usedFile] = deno.args;
  const runtime = RUNTIMES.find((one) => one === name);
  if (
    runtime === undefined ||
    gatewayFolder === undefined ||
    tokenFile === undefined ||
    serverName === undefined ||
    usedFile === undefined
  ) {
    deno.stderr.writeSync(new TextEncoder().encode(USAGE));
    return deno.exit(64);
  }
  await relay(deno, {
    runtime,
    runnerPort: Number(runnerPort),
    readyPort: Number(readyPort),
    gatewayFolder,
    tokenFile,
    serverName,
    usedFile,
  });
  return deno.exit(0);
}

const deno = denoApi();
main(deno).catch((error: unknown) => {
  deno.stderr.writeSync(new TextEncoder().encode(`${String(error)}\n`));
  deno.exit(1);
});
