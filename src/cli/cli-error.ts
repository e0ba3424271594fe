/** `warning` is for `millrace doctor` alone: nothing is broken, and something wants mending. */
export const EXIT = { ok: 0, failure: 1, usage: 2, warning: 3, configuration: 78 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A failure that the command line explains in one message and ends with `exitCode`; no stack is shown. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(message: string, options: { readonly exitCode?: ExitCode; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? EXIT.failure;
  }
}
