import { pino, type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

/**
 * The process's logger: JSON lines on stdout, constant messages with fields. Payloads, secrets and headers are never
 * logged.
 *
 * @param destination a file descriptor; `millrace dev` logs to stderr, for its stdout belongs to data
 */
export function createLogger(options: {
  readonly level: string;
  readonly name: string;
  readonly destination?: number;
}): Logger {
  return pino(
    {
      level: options.level,
      name: options.name,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: describeError },
    },
    pino.destination({ fd: options.destination ?? 1, sync: true }),
  );
}

/** pg hangs the whole connection, with the statements that it prepared, on an error of an idle one. */
function describeError(error: Error): object {
  const { client: _, ...rest } = pino.stdSerializers.err(error) as pino.SerializedError & {
    client?: unknown;
  };
  return rest;
}
