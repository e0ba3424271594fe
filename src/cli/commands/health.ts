import { failure, worstOf } from '../../core/health/finding.ts';
import { EXIT, type ExitCode } from '../cli-error.ts';
import { examineProcess } from '../doctor/processes.ts';
import { processPorts } from '../process-ports.ts';
import { makeShow, type GlobalOptions, type Io } from '../session.ts';
import { formatFindings } from './doctor.ts';

/**
 * `millrace health`: whether the API and the worker of this machine, or of this container, are ready. It needs nothing but
 * Node, so it is what an image without a shell is asked with.
 */
export async function showHealth(io: Io, globals: GlobalOptions): Promise<ExitCode> {
  const ports = await processPorts(io);
  const examined = (
    await Promise.all([examineProcess('api', ports.api), examineProcess('worker', ports.worker)])
  ).flatMap(({ findings }) => findings);
  const findings = examined.every(({ verdict }) => verdict === 'skipped')
    ? [
        failure(
          'process',
          `nothing answers on 127.0.0.1:${ports.api} or :${ports.worker}`,
          'start the API or a worker; API_ADMIN_PORT, API_PORT and WORKER_PORT say where they listen',
        ),
      ]
    : examined;
  const worst = worstOf(findings);
  makeShow(io, globals.output, 2)({ worst, findings }, () => formatFindings(findings));
  return worst === 'ok' ? EXIT.ok : EXIT.failure;
}
