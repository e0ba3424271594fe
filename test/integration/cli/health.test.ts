import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT, type ExitCode } from '../../../src/cli/cli-error.ts';
import { createProgram } from '../../../src/cli/program.ts';
import type { Finding } from '../../../src/core/health/finding.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { freePort } from '../../support/free-port.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

let database: TestDatabase;
let platform: TestPlatform;
let adminPort: string;
let nobody: string;
beforeAll(async () => {
  database = await createTestDatabase();
  adminPort = String(await freePort());
  platform = await startPlatform(database.url, { API_ADMIN_PORT: adminPort });
  nobody = String(await freePort());
});
afterAll(async () => {
  await platform.stop();
  await database.drop();
});

async function health(
  env: Readonly<Record<string, string>>,
): Promise<{ readonly exitCode: ExitCode; readonly findings: readonly Finding[] }> {
  let text = '';
  const program = createProgram({
    env,
    cwd: await makeTempDirectory(),
    write: (data) => (text += data),
    say: () => undefined,
    readText: () => Promise.reject(new Error('nothing is read')),
  });
  const exitCode = await program(['health', '-o', 'json']);
  return { exitCode, findings: (JSON.parse(text) as { readonly findings: readonly Finding[] }).findings };
}

describe('millrace health', () => {
  it('asks the API on its admin port, and says that no worker is here', async () => {
    const { exitCode, findings } = await health({
      API_PORT: new URL(platform.base).port,
      API_ADMIN_PORT: adminPort,
      WORKER_PORT: nobody,
    });

    expect(exitCode).toBe(EXIT.ok);
    expect(findings.map(({ check, verdict }) => [check, verdict])).toEqual([
      ['api.ready', 'ok'],
      ['worker.ready', 'skipped'],
    ]);
  });

  it('asks the worker where there is no API', async () => {
    const { exitCode, findings } = await health({
      API_PORT: nobody,
      WORKER_PORT: String(platform.workers[0]!.port),
    });

    expect(exitCode).toBe(EXIT.ok);
    expect(findings.map(({ verdict }) => verdict)).toEqual(['skipped', 'ok']);
  });

  it('fails where nothing answers, and says how the ports are set', async () => {
    const { exitCode, findings } = await health({ API_PORT: nobody, WORKER_PORT: nobody });

    expect(exitCode).toBe(EXIT.failure);
    expect(findings).toMatchObject([
      { check: 'process', verdict: 'error', remedy: expect.stringContaining('WORKER_PORT') },
    ]);
  });
});
