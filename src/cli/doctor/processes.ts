import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Environment } from '../../core/config/load.ts';
import { coerceError } from '../../core/errors/app-error.ts';
import { failure, ok, skipped, warning, type Finding } from '../../core/health/finding.ts';
import { answerOf } from '../../core/health/network.ts';
import { readSandboxLine, sandboxFinding, type SandboxReport } from '../../core/health/sandbox.ts';
import { z } from '../../core/zod.ts';

const run = promisify(execFile);

const readinessShape = z.looseObject({
  status: z.string(),
  checks: z
    .record(z.string(), z.looseObject({ status: z.string(), detail: z.string().optional() }))
    .default({}),
});
type Readiness = z.output<typeof readinessShape>;

/** What a process on this machine says of itself; undefined when none listens there. */
export async function examineProcess(
  name: 'api' | 'worker',
  port: number,
): Promise<{ readonly findings: readonly Finding[]; readonly readiness: Readiness | undefined }> {
  const url = `http://127.0.0.1:${port}/health/ready`;
  const answer = await answerOf(url);
  if ('error' in answer) {
    return { findings: [skipped(`${name}.ready`, `no ${name} answers at ${url}`)], readiness: undefined };
  }
  const parsed = readinessShape.safeParse(parseJson(answer.text));
  if (!parsed.success) {
    return {
      findings: [
        warning(
          `${name}.ready`,
          `${url} answers ${answer.status}, and not as Millrace does`,
          'another program has the port',
        ),
      ],
      readiness: undefined,
    };
  }
  const readiness = parsed.data;
  const failed = Object.entries(readiness.checks).filter(([, { status }]) => status !== 'ok');
  if (answer.status === 200)
    return { findings: [ok(`${name}.ready`, `${url} says ${readiness.status}`)], readiness };
  if (failed.length === 0) {
    return {
      findings: [
        warning(`${name}.ready`, `${url} says ${readiness.status}`, 'wait until it has started or ended'),
      ],
      readiness,
    };
  }
  return {
    findings: failed.map(([check, { detail }]) =>
      failure(
        `${name}.ready`,
        `its check ${check} fails${detail === undefined ? '' : `: ${detail}`}`,
        'its log says more; the findings here may, too',
      ),
    ),
    readiness,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Building the root file system of sandboxes takes most of it, at the first time. */
const DRIVER_TIMEOUT_MS = 120_000;
const PROGRAM = fileURLToPath(
  new URL(
    `../../worker/sandbox/examine/main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
    import.meta.url,
  ),
);
const reportShape = z.object({ driver: z.string(), said: z.string(), remedy: z.string().optional() });

/** Asks the worker that runs, or else tries what one would do. */
export async function examineSandbox(
  readiness: Readiness | undefined,
  env: Environment,
  wanted: { readonly driver: string; readonly environment: string },
): Promise<readonly Finding[]> {
  const line = readiness?.checks['sandbox']?.detail;
  if (line === undefined && !existsSync(PROGRAM)) {
    return [skipped('sandbox.driver', 'there is no worker here; ask where one is')];
  }
  return [sandboxFinding(line === undefined ? await tryDriver(env) : readSandboxLine(line), wanted)];
}

async function tryDriver(env: Environment): Promise<SandboxReport> {
  try {
    const { stdout } = await run(process.execPath, [...process.execArgv, PROGRAM], {
      env: { ...env },
      timeout: DRIVER_TIMEOUT_MS,
    });
    return reportShape.parse(JSON.parse(stdout));
  } catch (raw) {
    return { driver: 'none', said: coerceError(raw).message, remedy: 'mend what the message says' };
  }
}

/** Whether others reach it under its public address. */
export async function examinePublicUrl(key: string, url: string | undefined): Promise<readonly Finding[]> {
  if (url === undefined) return [];
  const answer = await answerOf(`${url}/health/live`);
  if ('error' in answer) {
    return [
      warning(
        `reachable.${key}`,
        `nothing answers at ${url}: ${answer.error}`,
        'start the API, and let DNS, load balancer and certificate lead to it',
      ),
    ];
  }
  return [ok(`reachable.${key}`, `${url} answers`)];
}
