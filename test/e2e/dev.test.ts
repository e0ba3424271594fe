import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { identify } from '../../src/cli/embedded/process-identity.ts';
import { startDevPlatform, runToEnd, type DevPlatform } from '../support/dev-platform.ts';
import { freePort } from '../support/free-port.ts';
import { cliCommand, createProcesses } from '../support/processes.ts';
import { startSink, type Sink } from '../support/sink.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';
import { waitFor } from '../support/wait-for.ts';

const processes = createProcesses();
afterEach(() => processes.killAll());

const start = (directory: string, env: Readonly<Record<string, string>> = {}): Promise<DevPlatform> =>
  startDevPlatform(processes, { directory, env });

/** What `millrace executions -o json` shows. */
async function executions(
  platform: DevPlatform,
): Promise<readonly { readonly id: string; readonly state: string }[]> {
  const { stdout } = await platform.cli('executions', '-o', 'json');
  return JSON.parse(stdout) as readonly { readonly id: string; readonly state: string }[];
}

const curlLine = (platform: DevPlatform): string =>
  /try it +(curl .*)$/m.exec(platform.process.output())?.[1] ?? '';

/** The process that runs the platform; npm and its shell stand before it. */
const platformPid = async (platform: DevPlatform): Promise<number> =>
  (JSON.parse(await readFile(join(platform.directory, 'runtime.json'), 'utf8')) as { readonly pid: number })
    .pid;

const databasePid = async (platform: DevPlatform): Promise<number> =>
  Number((await readFile(join(platform.directory, 'postgres/postmaster.pid'), 'utf8')).split('\n')[0]);

const gone = (pid: number): Promise<boolean> =>
  waitFor(async () => (await identify(pid)) === undefined, { what: `the end of process ${pid}` });

describe('npm start', () => {
  it('is ready within 20 s, and its curl line starts an execution that succeeds within 1 s', async () => {
    const platform = await start(await makeTempDirectory());
    expect(platform.readyMs).toBeLessThan(20_000);

    const answer = await runToEnd(processes, ['sh', '-c', `${curlLine(platform)} -s -w ' %{http_code}'`]);

    expect(answer).toMatchObject({ code: 0, stdout: expect.stringMatching(/"duplicate":false\} 202$/) });
    const ended = await waitFor(
      async () => (await executions(platform)).find(({ state }) => state === 'succeeded'),
      {
        timeoutMs: 5000,
      },
    );
    const { stdout } = await platform.cli('executions', '-o', 'json');
    const [execution] = JSON.parse(stdout) as readonly {
      readonly createdAt: string;
      readonly finishedAt: string;
    }[];
    expect(ended.id).toBe(JSON.parse(answer.stdout.replace(/ 202$/, '')).executionId);
    expect(Date.parse(execution!.finishedAt) - Date.parse(execution!.createdAt)).toBeLessThan(1000);
  });

  it('keeps its data over Ctrl-C and a new start, and leaves no process behind', async () => {
    const directory = await makeTempDirectory();
    const first = await start(directory);
    await runToEnd(processes, ['sh', '-c', `${curlLine(first)} -s`]);
    const before = await waitFor(async () => {
      const found = await executions(first);
      return found[0]?.state === 'succeeded' && found;
    });
    const postgres = await databasePid(first);

    first.process.signalGroup('SIGINT'); // as a terminal does it
    expect(await first.process.exited).toBe(0);
    expect(await identify(postgres)).toBeUndefined();
    expect((await readdir(first.directory)).sort()).toEqual(['postgres', 'postgres.log', 'secrets.json']);
    const second = await start(directory);

    expect(await executions(second)).toEqual(before);
    expect(curlLine(second).split('/hooks/')[1]).toBe(curlLine(first).split('/hooks/')[1]);
  });

  it('refuses to run twice on one folder, naming who runs there', async () => {
    const platform = await start(await makeTempDirectory());

    const second = await runToEnd(processes, ['npm', 'start'], {
      MILLRACE_DATA_DIR: platform.directory,
      API_PORT: String(await freePort()),
      WORKER_PORT: String(await freePort()),
    });

    expect(second.code).toBe(1);
    expect(second.stderr).toContain(
      `Millrace already runs on ${platform.directory} (process ${await platformPid(platform)}, since `,
    );
    expect((await fetch(`${platform.url}/health/ready`)).status).toBe(200);
  });

  it('recovers when only its own process is killed', async () => {
    const directory = await makeTempDirectory();
    const first = await start(directory);
    await runToEnd(processes, ['sh', '-c', `${curlLine(first)} -s`]);
    await waitFor(async () => (await executions(first))[0]?.state === 'succeeded');

    process.kill(await platformPid(first), 'SIGKILL');
    await first.process.exited;
    const second = await start(directory);

    expect((await executions(second)).map(({ state }) => state)).toEqual(['succeeded']);
  });

  it('ends with everything it started when the process group is killed', async () => {
    const platform = await start(await makeTempDirectory());
    const pids = [await platformPid(platform), await databasePid(platform)];

    platform.process.signalGroup('SIGKILL');

    await Promise.all(pids.map(gone));
  });

  /** Starts a workflow whose only step waits for `sink`, and waits until it does. */
  async function callSlowly(platform: DevPlatform, sink: Sink): Promise<void> {
    const file = join(dirname(platform.directory), 'slow.yaml');
    await writeFile(
      file,
      `name: slow\ntriggers: { by-hand: { manual: {} } }\nsteps: [{ id: call, http: { url: "${sink.url}/slow" } }]\n`,
    );
    expect(await platform.cli('deploy', file)).toMatchObject({ code: 0 });
    expect(await platform.cli('run', 'slow', '--timeout', '0s')).toMatchObject({ code: 0 });
    await waitFor(() => sink.entries.length === 1);
  }

  it('lets a step that runs finish, and records it, before it stops', async () => {
    const directory = await makeTempDirectory();
    const sink = await startSink(() => ({ delayMs: 2000 }));
    onTestFinished(() => sink.close());
    const env = { EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}` };
    const first = await start(directory, env);
    await callSlowly(first, sink);

    first.process.signalGroup('SIGINT');
    expect(await first.process.exited).toBe(0);
    const second = await start(directory, env);

    expect((await executions(second)).map(({ state }) => state)).toEqual(['succeeded']);
    expect(sink.entries).toHaveLength(1);
  });

  it('is not ready while it drains, and stops at once at a second signal, with its database', async () => {
    const sink = await startSink(() => ({ delayMs: 60_000 }));
    onTestFinished(() => sink.close());
    const platform = await start(await makeTempDirectory(), {
      EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
    });
    await callSlowly(platform, sink);
    const postgres = await databasePid(platform);
    const pid = await platformPid(platform);

    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM'); // npm passes on what it gets: so soon after the first it is the same request
    await waitFor(
      async () => (await fetch(`${platform.url}/health/ready`).catch(() => undefined))?.status !== 200,
    );
    await expect(waitFor(() => platform.process.hasExited(), { timeoutMs: 1000 })).rejects.toThrow('in vain');
    process.kill(pid, 'SIGINT');

    await gone(pid);
    await gone(postgres);
  });

  it('keeps its secrets in a file for its owner alone, and lets the environment win', async () => {
    const key = 'mr_given_0123456789abcdef0123456789abcdef';
    const platform = await start(await makeTempDirectory(), { MILLRACE_BOOTSTRAP_API_KEY: key });

    const me = await fetch(`${platform.url}/api/v1/me`, { headers: { authorization: `Bearer ${key}` } });

    expect(me.status).toBe(200);
    expect((await stat(join(platform.directory, 'secrets.json'))).mode & 0o777).toBe(0o600);
    expect(platform.process.output()).toContain(`API key   ${key}`);
    expect(await platform.cli('list')).toMatchObject({ code: 0 });
  });

  it('lists every mistake of its configuration at once, makes nothing, and exits with 78', async () => {
    const directory = await makeTempDirectory();

    const refused = await runToEnd(processes, cliCommand('dev'), {
      MILLRACE_DATA_DIR: join(directory, 'data'),
      API_PORT: 'eighty',
      LEASE_MS: '1',
      DATABASE_URL: 'mysql://127.0.0.1/x',
    });

    expect(refused.code).toBe(78);
    for (const name of ['API_PORT', 'LEASE_MS', 'DATABASE_URL'])
      expect(refused.stderr).toContain(`  ${name} must be`);
    expect(await readdir(directory)).toEqual([]);
  });

  it('says which port is taken and how to change it, and leaves nothing running', async () => {
    const directory = await makeTempDirectory();
    const sink = await startSink();
    onTestFinished(() => sink.close());

    const refused = await runToEnd(processes, cliCommand('dev'), {
      MILLRACE_DATA_DIR: join(directory, 'data'),
      API_PORT: String(sink.port),
      WORKER_PORT: String(await freePort()),
    });

    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      `Port ${sink.port} is already in use; stop what uses it or set API_PORT`,
    );
    expect((await readdir(join(directory, 'data'))).sort()).toEqual([
      'postgres',
      'postgres.log',
      'secrets.json',
    ]);
    await sink.close();
  });
});
