import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { PROJECT_ROOT } from '../support/processes.ts';
import { tool, workloadsOf, parseRendered } from '../support/manifests.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const SCRIPT = join(PROJECT_ROOT, 'scripts/kind-up');
const CONFIGURATION = join(PROJECT_ROOT, 'deployments/kind/cluster.yaml');
/** What the script may count on; docker, kind, kubectl, curl and sha256sum are others' in these tests. */
const PROGRAMS = ['bash', 'cat', 'cp', 'cut', 'dirname', 'grep', 'mktemp', 'node', 'rm', 'touch'] as const;

const CALICO_SUM = /^CALICO_SHA256=(\w{64})$/m;
const LOG = 'printf "%s\\n" "$(basename_of "$0") ${*//$\'\\n\'/ }" >>"$STATE/log"';
const HEAD = `#!/usr/bin/env bash
basename_of() { printf '%s' "\${1##*/}"; }
${LOG}
`;
const STUBS: Readonly<Record<string, string>> = {
  docker: `case "$*" in
info) exit "\${DOCKER_INFO:-0}" ;;
build*) [ "$BUILDX_NO_DEFAULT_ATTESTATIONS" = 1 ] ;;
'image inspect'*) printf 'sha256:%s\\n' "\${IMAGE_ID:-00112233445566778899aabbccddeeff}" ;;
esac`,
  kind: `case "$*" in
version) echo "kind v\${KIND_VERSION:-0.30.0} go1.24.6 linux/amd64" ;;
'get clusters') cat "$STATE/clusters" 2>/dev/null || echo 'No kind clusters found.' >&2 ;;
create*) echo millrace >"$STATE/clusters" ;;
delete*) rm "$STATE/clusters" ;;
esac`,
  kubectl: `case "$*" in
'version --client') echo 'Client Version: v1.34.1' ;;
*'get daemonset calico-node') [ -f "$STATE/calico" ] ;;
*'apply -f '*calico.yaml) touch "$STATE/calico" ;;
*' apply -k '*) "$KUSTOMIZE" build "\${@: -1}" >"$STATE/applied.yaml" ;;
*'get secret dev-millrace-secrets') [ -f "$STATE/secret" ] ;;
*'create -f -') cat >"$STATE/secret" ;;
*'get pods -l component=worker'*) printf 10.0.0.9 ;;
*' 6379') echo reached ;;
*' 10.0.0.9 8082') echo "\${GATEWAY:-silent}" ;;
esac`,
  curl: 'while [ "$1" != --output ]; do shift; done; echo manifests >"$2"',
  sha256sum: 'printf "%s  %s\\n" "$CALICO_SUM" "$1"',
};

interface Machine {
  up(
    args?: readonly string[],
    env?: NodeJS.ProcessEnv,
  ): Promise<{ code: number; stderr: string; stdout: string }>;
  /** What was called, each a line. */
  calls(): Promise<readonly string[]>;
  readonly state: string;
  lose(program: string): Promise<void>;
}

/** A machine on which Docker and the others only write down that they were called. */
async function makeMachine(): Promise<Machine> {
  const root = await makeTempDirectory();
  const [bin, state] = [join(root, 'bin'), join(root, 'state')];
  await Promise.all([mkdir(bin), mkdir(state)]);
  for (const program of PROGRAMS) await symlink(await find(program), join(bin, program));
  for (const [name, text] of Object.entries(STUBS)) {
    await writeFile(join(bin, name), `${HEAD}${text}\n`);
    await chmod(join(bin, name), 0o755);
  }
  const sum = CALICO_SUM.exec(await readFile(SCRIPT, 'utf8'))![1]!; // a test of its own looks for it
  return {
    state,
    async up(args = [], env = {}) {
      const options = {
        env: { PATH: bin, STATE: state, KUSTOMIZE: tool('kustomize'), CALICO_SUM: sum, ...env },
      };
      try {
        return { code: 0, ...(await run('bash', [SCRIPT, ...args], options)) };
      } catch (raw) {
        return raw as { code: number; stderr: string; stdout: string };
      }
    },
    async calls() {
      return (await readFile(join(state, 'log'), 'utf8').catch(() => '')).split('\n').filter(Boolean);
    },
    lose: (program) => rm(join(bin, program)),
  };
}

async function find(program: string): Promise<string> {
  if (program === 'node') return process.execPath;
  for (const folder of process.env['PATH']!.split(delimiter)) {
    if ((await readdir(folder).catch((): readonly string[] => [])).includes(program))
      return join(folder, program);
  }
  throw new Error(`there is no ${program} on the PATH`);
}

const changes = (calls: readonly string[]): readonly string[] =>
  calls.filter((call) =>
    /^(kind (create|load|delete)|kubectl .*(apply|create|delete) |docker (build|tag))/.test(call),
  );

describe('scripts/kind-up', { timeout: 60_000 }, () => {
  it('makes a cluster with a network, gVisor, images, a Secret and development, and says how to go on', async () => {
    const machine = await makeMachine();

    const { code, stdout, stderr } = await machine.up();

    expect(code, stderr).toBe(0);
    const steps = changes(await machine.calls()).map((call) => call.replaceAll(/\S*\.kind-up-\w+/g, 'WORK'));
    const images = ['api', 'worker', 'runner'].flatMap((name) => [
      `docker build --file ${join(PROJECT_ROOT, `Dockerfile.${name}`)} --tag localhost/millrace-${name}:dev ${resolve(PROJECT_ROOT)}`,
      `docker tag localhost/millrace-${name}:dev localhost/millrace-${name}:001122334455`,
      `kind load docker-image --name millrace localhost/millrace-${name}:001122334455`,
    ]);
    expect(steps).toEqual([
      `kind create cluster --config ${CONFIGURATION}`,
      'kubectl --context kind-millrace apply -f WORK/calico.yaml',
      ...images,
      'kubectl --context kind-millrace -n millrace-dev delete job dev-millrace-migrate --ignore-not-found',
      'kubectl --context kind-millrace apply -k WORK',
      'kubectl --context kind-millrace create -f -',
    ]);
    const secret = JSON.parse(await readFile(join(machine.state, 'secret'), 'utf8'));
    expect(secret).toMatchObject({ kind: 'Secret', metadata: { name: 'dev-millrace-secrets' } });
    expect(stdout).toContain('port-forward service/dev-millrace-api 8080:80');
    expect(stdout).toContain('scripts/kind-up --down');
  });

  it('applies development with the images of just now, and the installer of gVisor', async () => {
    const machine = await makeMachine();
    await machine.up();
    const applied = parseRendered(await readFile(join(machine.state, 'applied.yaml'), 'utf8'));
    const images = new Set(
      workloadsOf(applied).flatMap(({ spec }) => spec.template.spec.containers.map(({ image }) => image)),
    );
    expect([...images].filter((image) => image.includes('millrace')).sort()).toEqual(
      ['api', 'runner', 'worker'].map((name) => `localhost/millrace-${name}:001122334455`),
    );
    expect(applied.one('DaemonSet', 'gvisor-installer').metadata.namespace).toBe('gvisor-installer');
    expect(applied.one('Deployment', 'dev-millrace-api').metadata.namespace).toBe('millrace-dev');
  });

  it('waits for each part, and every one that it waits for is there', async () => {
    const machine = await makeMachine();
    await machine.up();
    const applied = parseRendered(await readFile(join(machine.state, 'applied.yaml'), 'utf8'));
    const waited = (await machine.calls()).flatMap((call) => {
      const [, namespace, kind, name] = /-n (\S+) rollout status (\w+)\/(\S+)/.exec(call) ?? [];
      return namespace === undefined || namespace === 'kube-system' ? [] : [`${namespace} ${kind} ${name}`];
    });
    const there = (['Deployment', 'StatefulSet', 'DaemonSet'] as const).flatMap((kind) =>
      applied.of(kind).map(({ metadata }) => `${metadata.namespace} ${kind.toLowerCase()} ${metadata.name}`),
    );
    expect(there).toEqual(expect.arrayContaining(waited));
    expect(waited).toHaveLength(6);
  });

  it('keeps the cluster, its network and the Secret the second time, and rolls out what has changed', async () => {
    const machine = await makeMachine();
    await machine.up();
    const secret = await readFile(join(machine.state, 'secret'), 'utf8');
    await rm(join(machine.state, 'log'));

    const { code } = await machine.up([], { IMAGE_ID: 'ffeeddccbbaa99887766554433221100' });

    expect(code).toBe(0);
    const steps = changes(await machine.calls());
    expect(steps.filter((step) => /kind create|apply -f|create -f/.test(step))).toEqual([]);
    expect(steps).toContain('kind load docker-image --name millrace localhost/millrace-api:ffeeddccbbaa');
    expect(await readFile(join(machine.state, 'secret'), 'utf8')).toBe(secret);
    expect(await readFile(join(machine.state, 'applied.yaml'), 'utf8')).toContain(
      'image: localhost/millrace-api:ffeeddccbbaa',
    );
  });

  it('leaves nothing of its own in the checkout', async () => {
    const machine = await makeMachine();
    await machine.up();
    expect((await readdir(PROJECT_ROOT)).filter((name) => name.startsWith('.kind-up'))).toEqual([]);
  });

  it('says all that is missing at once, with where to get it, and does nothing', async () => {
    const machine = await makeMachine();
    await machine.lose('kubectl');
    await machine.lose('curl');

    const { code, stderr } = await machine.up([], { DOCKER_INFO: '1', KIND_VERSION: '0.9.0' });

    expect(code).toBe(1);
    expect(stderr.split('\n')).toEqual([
      expect.stringContaining('docker does not answer: start Docker'),
      'kind-up: kind is 0.9.0, and has to be 0.30 or newer: https://kind.sigs.k8s.io/docs/user/quick-start/#installation',
      'kind-up: kubectl is not installed: https://kubernetes.io/docs/tasks/tools/',
      'kind-up: curl is not installed: https://curl.se/download.html',
      'kind-up: nothing was done',
      '',
    ]);
    expect(changes(await machine.calls())).toEqual([]);
  });

  it('says where to get Docker', async () => {
    const machine = await makeMachine();
    await machine.lose('docker');
    const { code, stderr } = await machine.up();
    expect(code).toBe(1);
    expect(stderr).toContain('docker is not installed: https://docs.docker.com/engine/install/');
  });

  it('takes a newer kind, also of another major version', async () => {
    for (const KIND_VERSION of ['0.33.0', '1.0.0-alpha']) {
      const machine = await makeMachine();
      expect((await machine.up([], { KIND_VERSION })).code).toBe(0);
    }
  });

  it('applies no network plugin that is not what its sum says', async () => {
    const machine = await makeMachine();
    const { code, stderr } = await machine.up([], { CALICO_SUM: '0'.repeat(64) });
    expect(code).toBe(1);
    expect(stderr).toMatch(/the sha256 of \S+calico.yaml is 0{64} and should be \w{64}/);
    expect((await machine.calls()).filter((call) => call.includes('apply'))).toEqual([]);
  });

  it('finds a network plugin that enforces nothing', async () => {
    const machine = await makeMachine();
    const { code, stderr } = await machine.up([], { GATEWAY: 'reached' });
    expect(code).toBe(1);
    expect(stderr).toContain('the network plugin does not enforce policies');
  });

  it('removes the cluster, and minds none that is not there', async () => {
    const machine = await makeMachine();
    await machine.up();
    expect((await machine.up(['--down'])).code).toBe(0);
    expect((await machine.calls()).at(-1)).toBe('kind delete cluster --name millrace');
    const again = await machine.up(['--down']);
    expect([again.code, again.stderr]).toEqual([0, 'kind-up: there is no cluster millrace\n']);
  });

  it.each([[['--help']], [['up']], [['--down', 'now']]])('answers %j with how it is called', async (args) => {
    const machine = await makeMachine();
    const { code, stderr } = await machine.up(args);
    expect([code, stderr]).toEqual([2, 'kind-up: usage: scripts/kind-up [--down]\n']);
    expect(await machine.calls()).toEqual([]);
  });
});

describe('the cluster that it makes', () => {
  it('has the name that the script uses, a pinned image, and the network to the script', async () => {
    const cluster = parse(await readFile(CONFIGURATION, 'utf8')) as {
      readonly nodes: readonly { readonly role: string; readonly image: string }[];
    };
    expect(cluster).toMatchObject({
      kind: 'Cluster',
      apiVersion: 'kind.x-k8s.io/v1alpha4',
      name: /^CLUSTER=(\w+)$/m.exec(await readFile(SCRIPT, 'utf8'))![1],
      networking: { disableDefaultCNI: true },
    });
    expect(cluster.nodes.map(({ role }) => role)).toEqual(['control-plane']);
    for (const { image } of cluster.nodes) expect(image).toMatch(/^kindest\/node:v1\.34\.\d+@sha256:\w{64}$/);
  });
});
