import { pino, type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

/**
 * The process's logger: JSON lines on stdout, constant messages with fields. Payloads, secrets and headers are never
 * logged; what somebody passes in all the same under one of {@link SECRET_FIELDS} is masked.
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
      redact: { paths: [...SECRET_FIELDS], censor: MASK },
    },
    pino.destination({ fd: options.destination ?? 1, sync: true }),
  );
}

const MASK = '[masked]';
/** Whole fields only: looking into each of the others doubles what a line costs. */
const SECRET_FIELDS = [
  'apiKey',
  'authorization',
  'body',
  'cookie',
  'headers',
  'password',
  'request',
  'response',
  'secret',
  'token',
] as const;

/**
 * What is told of an error besides its message and stack. A list, because errors of libraries carry what must not be
 * logged: PostgreSQL's `detail` has values of rows, pg's `client` its statements, ioredis' `command` the arguments.
 */
const ERROR_FIELDS: ReadonlySet<string> = new Set([
  'type',
  'message',
  'stack',
  'name',
  'code',
  'kind',
  'problems',
  'errno',
  'syscall',
  'address',
  'port',
  'severity',
  'table',
  'column',
  'constraint',
]);

function describeError(error: Error): object {
  return chosen(pino.stdSerializers.err(error));
}

const chosen = ({ aggregateErrors, ...rest }: pino.SerializedError): object => ({
  ...Object.fromEntries(
    Object.entries(rest)
      .filter(([name]) => ERROR_FIELDS.has(name))
      .map(([name, value]) => [name, typeof value === 'string' ? withoutPasswords(value) : value]),
  ),
  ...(aggregateErrors !== undefined && { aggregateErrors: aggregateErrors.map(chosen) }),
});

/** Of URLs, such as those of databases: `postgres://user:password@host`. */
const withoutPasswords = (text: string): string =>
  text.replaceAll(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]*):[^\s/@]+@/gi, `$1:${MASK}@`);
