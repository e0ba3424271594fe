import { chmod, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { goodStep } from './good-steps.ts';
import { startSecurityPlatform, type SecurityPlatform } from './harness.ts';

const LANGUAGES = ['javascript', 'python'] as const;

let empty: string;
/** Every program of this machine but runsc. */
let programs: string;
beforeAll(async () => {
  empty = await mkdtemp(join(tmpdir(), 'millrace-empty-'));
  await chmod(empty, 0o711);
  programs = join(empty, 'bin');
  await mkdir(programs);
  for (const folder of (process.env['PATH'] ?? '').split(delimiter).filter((path) => path.startsWith('/'))) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (name !== 'runsc') await symlink(join(folder, name), join(programs, name)).catch(() => undefined); // there is one
    }
  }
});
afterAll(() => rm(empty, { recursive: true, force: true }));

const runGood = async (security: SecurityPlatform, language: (typeof LANGUAGES)[number]) =>
  security.end(
    security.tenant,
    await security.start(await security.deploy(security.tenant, goodStep(language)), { n: 21 }),
  );

describe('X25 where there is no gVisor', () => {
  let security: SecurityPlatform;
  beforeAll(async () => {
    security = await startSecurityPlatform({
      env: {
        SANDBOX_DRIVER: 'auto',
        MILLRACE_RUNSC: join(empty, 'no-such-runsc'),
        XDG_CACHE_HOME: join(empty, 'cache'),
        PATH: programs,
      },
    });
  }, 120_000);
  afterAll(() => security?.stop());

  test.each(LANGUAGES)('X25 a %s step fails with no_sandbox and the remedy', async (language) => {
    const seen = await runGood(security, language);
    expect(seen).toMatchObject({ state: 'failed', output: null, error: { code: 'no_sandbox' } });
    expect(seen.error?.message).toMatch(/install-gvisor|MILLRACE_RUNSC/);
  });

  test('X25 everything but code steps works', async () => {
    const definition = {
      name: 'no-code',
      triggers: { go: { manual: {} } },
      steps: [{ id: 'add', transform: 'trigger.body.n + 1' }],
      output: 'steps.add.output',
    };
    const { tenant } = security;
    await tenant.call('PUT', '/api/v1/workflows/no-code', {
      definition: JSON.stringify(definition),
      files: {},
    });
    const id = await security.start({ workflow: 'no-code', tenant }, { n: 1 });
    expect(await security.end(tenant, id)).toMatchObject({ state: 'succeeded', output: 2 });
  });

  test('X25 banner, log, health and metric say that there is none', async () => {
    expect(security.driver).toMatch(/^none: .*runsc/);
    expect(await security.processLog()).toContain('code steps cannot run on this worker');
    expect(await security.metrics()).toContain('millrace_sandbox_driver{driver="none"} 1');
    expect(await healthOf(security)).toMatch(/none: .*runsc/);
  });
});

describe('X25 where the process driver was asked for by name', () => {
  let security: SecurityPlatform;
  beforeAll(async () => {
    security = await startSecurityPlatform({
      env: { SANDBOX_DRIVER: 'process', MILLRACE_RUNSC: join(empty, 'no-such-runsc') },
    });
  }, 120_000);
  afterAll(() => security?.stop());

  test.each(LANGUAGES)('X25 a %s step runs', async (language) => {
    expect(await runGood(security, language)).toMatchObject({
      state: 'succeeded',
      output: { n: 21, doubled: 42 },
    });
  });

  test('X25 banner, log, health and metric say that nothing isolates', async () => {
    expect(security.driver).toMatch(/^process: /);
    expect(await security.processLog()).toContain('code steps run with little isolation');
    expect(await security.metrics()).toContain('millrace_sandbox_driver{driver="process"} 1');
    expect(await healthOf(security)).toMatch(/process: /);
  });

  test('X25 no process of a step is left when the worker has stopped', async () => {
    expect(await security.stop()).toEqual([]);
  });
});

test('X25 production refuses the process driver', async () => {
  const security = await startSecurityPlatform({
    env: { SANDBOX_DRIVER: 'process', ENVIRONMENT: 'production' },
  });
  try {
    expect(security.driver).toMatch(/^none: .*production/);
    expect(await runGood(security, 'javascript')).toMatchObject({ error: { code: 'no_sandbox' } });
  } finally {
    await security.stop();
  }
}, 120_000);

async function healthOf({ platform }: SecurityPlatform): Promise<string> {
  const [worker] = platform.workers;
  return (await fetch(`http://127.0.0.1:${worker!.port}/health/ready`)).text(); // it has one
}
