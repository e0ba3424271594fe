import type { RunPayload } from '../../../core/sandbox/protocol.ts';
import type { Log } from './console.ts';
import { RetryableError, TerminalError } from './errors.ts';
import type { Host, RunHost } from './host.ts';

/** The `ctx` that the author's function is given. */
export function createContext(
  host: Host,
  run: RunHost,
  context: RunPayload['context'],
  parts: { readonly fetch: unknown; readonly log: Log },
): object {
  const at =
    (level: Parameters<Log>[0]) =>
    (...values: readonly unknown[]): void =>
      parts.log(level, host.format(...values));
  return {
    fetch: parts.fetch,
    secrets: context.secrets,
    config: context.config,
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    signal: run.signal,
    idempotencyKey: context.idempotencyKey,
    execution: context.execution,
    workflow: context.workflow,
    step: context.step,
    TerminalError,
    RetryableError,
  };
}
