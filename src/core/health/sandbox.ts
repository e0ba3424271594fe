import { failure, ok, warning, type Finding } from './finding.ts';

/** What code steps run in; `none` with the reason, and what to do about it. */
export interface SandboxReport {
  readonly driver: string;
  readonly said: string;
  readonly remedy?: string | undefined;
}

/** The line that a worker's readiness shows: `gvisor: …`, or `none: <reason>; <remedy>`. */
export function readSandboxLine(line: string): SandboxReport {
  const [, driver = 'none', said = line] = /^(\w+): (.*)$/s.exec(line) ?? [];
  const cut = driver === 'none' ? said.lastIndexOf('; ') : -1;
  return cut < 0 ? { driver, said } : { driver, said: said.slice(0, cut), remedy: said.slice(cut + 2) };
}

export function sandboxFinding(
  report: SandboxReport,
  wanted: { readonly driver: string; readonly environment: string },
): Finding {
  const { driver, said, remedy = 'see docs/operations.md on sandboxes' } = report;
  const check = 'sandbox.driver';
  if (driver === 'none') {
    const message = `code steps cannot run: ${said}`;
    // Somebody has said so.
    return wanted.driver === 'none' ? warning(check, message, remedy) : failure(check, message, remedy);
  }
  if (driver === 'process') {
    const message = `code steps run with little isolation (${said})`;
    const better = 'set SANDBOX_DRIVER=gvisor, on Linux and as root';
    return wanted.environment === 'production'
      ? failure(check, message, better)
      : warning(check, message, better);
  }
  return ok(check, `code steps run in ${driver}: ${said}`);
}
