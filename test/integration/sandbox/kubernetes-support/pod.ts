import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';
import { findDeno } from '../../../../src/worker/sandbox/rootfs/deno.ts';
import { DENO_ARGUMENTS, PYTHON_ARGUMENTS } from '../../../../src/worker/sandbox/rootfs/layout.ts';
import { bundleJavaScriptRunner, bundleRelay } from '../../../../src/worker/sandbox/rootfs/runner-bundle.ts';
import type { FakeCluster } from '../../../../src/worker/sandbox/kubernetes/fake-cluster.fixture.ts';
import type { DialledRuntime } from '../../../../src/worker/sandbox/kubernetes/runner-connection.ts';
import { SERVER_NAME } from '../../../../src/worker/sandbox/kubernetes/names.ts';
import { freePort } from '../../../support/free-port.ts';
import { PROJECT_ROOT } from '../../../support/processes.ts';
import { makeTempDirectory } from '../../../support/temp-directory.ts';
import { waitFor } from '../../../support/wait-for.ts';

export interface LocalPod {
  /** As its containers have it mounted. */
  readonly gatewayFolder: string;
  readonly readyPort: number;
  readonly relay: ChildProcess;
  readonly runner: ChildProcess;
  /** What the relay has logged. */
  log(): string;
  exited(): Promise<unknown>;
}

/** What the kubelet does: the ConfigMap of the gateway as files of the pod. */
export async function mountGateway(
  cluster: FakeCluster,
  namespace: string,
  { gatewayFolder }: LocalPod,
): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/configmaps/runner-gateway`;
  const data = await waitFor(() => cluster.objects.get(path)?.['data']);
  for (const [key, text] of Object.entries(data as Record<string, string>)) {
    await writeFile(join(gatewayFolder, key), text);
  }
}

/** Both containers of a runner's pod as processes of this machine, with the programs and arguments of their image. */
export async function startPod(
  runtime: DialledRuntime,
  token: string,
  /** As Kubernetes starts the containers of a pod again. */
  options: { readonly isUsed?: boolean } = {},
): Promise<LocalPod> {
  const home = await makeTempDirectory();
  const [runnerPort, readyPort, deno] = [await freePort(), await freePort(), await findDeno()];
  const gatewayFolder = join(home, 'gateway');
  await mkdir(gatewayFolder);
  await mkdir(join(home, 'scratch'));
  const [relayFile, runnerFile, tokenFile, usedFile] = [
    join(home, 'relay.mjs'),
    join(home, 'javascript.mjs'),
    join(home, 'token'),
    join(home, 'used'),
  ];
  if (options.isUsed === true) await writeFile(usedFile, '');
  await writeFile(relayFile, await bundleRelay());
  await writeFile(runnerFile, await bundleJavaScriptRunner());
  await writeFile(tokenFile, `${token}\n`);
  for (const name of ['enter.py', 'program.py', 'provide.py']) {
    await copyFile(join(PROJECT_ROOT, 'src/runner/pod', name), join(home, name));
  }
  await cp(join(PROJECT_ROOT, 'src/runner/python/millrace_runner'), join(home, 'python/millrace_runner'), {
    recursive: true,
  });

  const environment = {
    PATH: '/usr/bin:/bin',
    HOME: join(home, 'scratch'),
    TMPDIR: join(home, 'scratch'),
    DENO_DIR: join(home, 'deno'),
    NO_COLOR: '1',
    // As the kubelet adds it to every container.
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
  };
  const relay = spawn(
    deno.file,
    [
      ...DENO_ARGUMENTS,
      '--allow-net',
      `--allow-read=${gatewayFolder},${tokenFile},${usedFile}`,
      `--allow-write=${usedFile}`,
      relayFile,
      runtime,
      String(runnerPort),
      String(readyPort),
      gatewayFolder,
      tokenFile,
      SERVER_NAME,
      usedFile,
    ],
    { env: environment, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const [file, ...args] = await commandOf(runtime, { home, deno: deno.file, runnerFile, runnerPort });
  const runner = spawn(file, args, {
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: join(home, 'scratch'),
  });
  let log = '';
  for (const child of [relay, runner]) child.stderr.on('data', (chunk) => (log += String(chunk)));
  const exits = [relay, runner].map((child) => once(child, 'exit'));
  onTestFinished(async () => {
    for (const child of [relay, runner]) child.kill('SIGKILL');
    await Promise.all(exits);
  });
  return { gatewayFolder, readyPort, relay, runner, log: () => log, exited: () => Promise.all(exits) };
}

const PYTHON = ['/usr/bin/python3', '-I', '-S', '-B'] as const;
const run = promisify(execFile);

/** What the container that runs code is started with. */
async function commandOf(
  runtime: DialledRuntime,
  {
    home,
    deno,
    runnerFile,
    runnerPort,
  }: {
    readonly home: string;
    readonly deno: string;
    readonly runnerFile: string;
    readonly runnerPort: number;
  },
): Promise<readonly [string, ...string[]]> {
  const enter = [...PYTHON, join(home, 'enter.py'), String(runnerPort)] as const;
  switch (runtime) {
    case 'javascript':
      return [...enter, deno, ...DENO_ARGUMENTS, runnerFile];
    case 'python': {
      const main = join(PROJECT_ROOT, 'src/runner/python/main.py');
      return [...enter, '/usr/bin/python3', ...PYTHON_ARGUMENTS, main, '--scratch', join(home, 'scratch')];
    }
    case 'image': {
      // As the init container does it: the copy is all that the image will have.
      const copy = join(home, 'copy');
      const [python, ...flags] = [...PYTHON, '-X', 'utf8'] as const;
      await run(python, [...flags, join(home, 'provide.py'), copy], { env: {} });
      const library = join(copy, 'lib');
      const program = join(copy, home, 'program.py');
      return [
        join(library, 'ld.so'),
        '--library-path',
        library,
        join(copy, python),
        ...flags,
        program,
        String(runnerPort),
      ];
    }
    default:
      return runtime satisfies never;
  }
}
