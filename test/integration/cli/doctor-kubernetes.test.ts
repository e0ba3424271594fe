import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { NAMESPACE, WELL } from '../../../src/cli/doctor/cluster.fixture.ts';
import { runToEnd } from '../../support/dev-platform.ts';
import { cliCommand, createProcesses } from '../../support/processes.ts';
import { serving } from '../../support/serve.ts';
import { makeTempDirectory } from '../../support/temp-directory.ts';

const hasKubectl = ((): boolean => {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** Runs the doctor with a kubectl that is configured for an API server which says what `answers` has. */
async function doctor(answers: Readonly<Record<string, unknown>>, ...args: readonly string[]) {
  const processes = createProcesses();
  onTestFinished(() => processes.killAll());
  const kubeconfig = join(await makeTempDirectory(), 'config');
  return serving(
    (req, res) => {
      const answer = answers[req.url!.split('?')[0]!];
      const status = {
        kind: 'Status',
        apiVersion: 'v1',
        status: 'Failure',
        reason: 'NotFound',
        code: 404,
        message: 'not found',
      };
      res.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
      res.end(JSON.stringify(answer ?? status));
    },
    async (base) => {
      await writeFile(
        kubeconfig,
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Config',
          clusters: [{ name: 'c', cluster: { server: base } }],
          contexts: [{ name: 'here', context: { cluster: 'c', user: 'u', namespace: NAMESPACE } }],
          users: [{ name: 'u', user: {} }],
          'current-context': 'here',
        }),
      );
      const result = await runToEnd(processes, cliCommand('doctor', '--kubernetes', '-o', 'json', ...args), {
        KUBECONFIG: kubeconfig,
      });
      return {
        ...result,
        report: JSON.parse(result.stdout) as { readonly worst: string; readonly findings: readonly object[] },
      };
    },
  );
}

describe.runIf(hasKubectl)('millrace doctor --kubernetes, through kubectl', { timeout: 60_000 }, () => {
  it('finds nothing in a cluster that is well, in the namespace of the context', async () => {
    const { code, report } = await doctor(WELL);
    expect(report).toMatchObject({ worst: 'ok' });
    expect(code).toBe(0);
  });

  it('names the remedy of what is missing, in the namespace that was asked for', async () => {
    const { '/apis/node.k8s.io/v1/runtimeclasses/gvisor': _, ...rest } = WELL;
    const { code, report } = await doctor(rest, '--context', 'here', '-n', NAMESPACE);
    expect(report.findings).toContainEqual(
      expect.objectContaining({
        check: 'kubernetes.runtime_class',
        verdict: 'error',
        remedy: expect.stringContaining('kubectl apply -k'),
      }),
    );
    expect(code).toBe(1);
  });

  it('says that there is no such context', async () => {
    const { code, report } = await doctor(WELL, '--context', 'elsewhere');
    expect(report.findings).toEqual([
      expect.objectContaining({
        check: 'kubernetes.api_server',
        verdict: 'error',
        message: expect.stringContaining('elsewhere'),
      }),
    ]);
    expect(code).toBe(1);
  });
});
