import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { apiKeys } from '../../src/core/config/api-keys.ts';
import { loadConfig } from '../../src/core/config/load.ts';
import { checkProduction } from '../../src/core/config/production.ts';
import { ENVIRONMENTS, renderEnvironment, workloadsOf, type Environment } from '../support/manifests.ts';
import { PROJECT_ROOT } from '../support/processes.ts';

const run = promisify(execFile);
const SCRIPT = join(PROJECT_ROOT, 'scripts/make-kubernetes-secret');
const ELSEWHERE = { DATABASE_URL: 'postgres://m:s@db.example/m', REDIS_URL: 'rediss://redis.example:6379' };

interface Secret {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly stringData: Readonly<Record<string, string>>;
}

async function makeSecret(environment: Environment): Promise<Secret> {
  const env = environment === 'development' ? {} : ELSEWHERE;
  const { stdout } = await run(process.execPath, [SCRIPT, environment], { env });
  return JSON.parse(stdout) as Secret;
}

describe.each(ENVIRONMENTS)('the Secret made for %s', (environment) => {
  it('has the name, the namespace and the keys that pods ask for', async () => {
    const rendered = await renderEnvironment(environment);
    const { metadata, stringData } = await makeSecret(environment);
    const asked = new Set<string>();
    for (const workload of workloadsOf(rendered)) {
      if (workload.metadata.namespace !== metadata.namespace) continue;
      const { containers, volumes = [] } = workload.spec.template.spec;
      for (const { secret } of volumes) {
        if (secret === undefined) continue;
        expect(secret.secretName).toBe(metadata.name);
        for (const { key } of secret.items!) asked.add(key);
      }
      for (const { valueFrom } of containers.flatMap(({ env }) => env ?? [])) {
        if (valueFrom?.secretKeyRef !== undefined) asked.add(valueFrom.secretKeyRef.key);
      }
    }
    expect(Object.keys(stringData).sort()).toEqual([...asked].sort());
  });

  it('is one that processes start with in production, and another each time', async () => {
    const first = (await makeSecret(environment)).stringData;
    const config = loadConfig(apiKeys, {
      ENVIRONMENT: 'production',
      PUBLIC_URL: 'https://api.millrace.example',
      DATABASE_URL: first['database-url'],
      REDIS_URL: first['redis-url'],
      JWT_SECRET: first['jwt-secret'],
      ENCRYPTION_KEY: first['encryption-key'],
      MILLRACE_BOOTSTRAP_API_KEY: first['bootstrap-api-key'],
    });
    checkProduction(config);
    const second = (await makeSecret(environment)).stringData;
    for (const key of ['jwt-secret', 'encryption-key', 'bootstrap-api-key']) {
      expect(second[key]).not.toBe(first[key]);
    }
  });
});

describe('the Secret of development', () => {
  it('names Services that are there, with the passwords that their pods get', async () => {
    const rendered = await renderEnvironment('development');
    const { stringData } = await makeSecret('development');
    for (const [url, password] of [
      ['database-url', 'postgres-password'],
      ['redis-url', 'redis-password'],
    ] as const) {
      const parsed = new URL(stringData[url]!);
      const service = rendered.one('Service', parsed.hostname);
      expect(service.spec.ports.map(({ port }) => String(port))).toEqual([parsed.port]);
      expect(parsed.password).toBe(stringData[password]);
    }
  });
});

describe('what is wrong', () => {
  it.each([
    [['elsewhere'], {}, 'usage: scripts/make-kubernetes-secret development|staging|production'],
    [[], {}, 'usage:'],
    [['staging'], { DATABASE_URL: '' }, 'Set DATABASE_URL and REDIS_URL'],
  ])('%j is answered with what to do', async (args, env, message) => {
    const failure = await run(process.execPath, [SCRIPT, ...args], { env }).catch((raw: unknown) => raw);
    expect(failure).toMatchObject({ code: 2, stdout: '' });
    expect((failure as { readonly stderr: string }).stderr).toContain(message);
  });
});
