import type { LogLevel } from '../../../core/sandbox/protocol.ts';
import { hidden } from './globals.ts';
import type { Host } from './host.ts';

export type Log = (level: LogLevel, text: string) => void;

type Values = readonly unknown[];

/** `console` whose entries go to the run's log. */
export function createConsole(host: Host, log: Log): object {
  let indent = '';
  const counts = new Map<string, number>();
  const starts = new Map<string, number>();
  const write = (level: LogLevel, values: Values): void => {
    const text = host.format(...values);
    log(level, indent === '' ? text : indent + text.replaceAll('\n', `\n${indent}`));
  };
  const at =
    (level: LogLevel) =>
    (...values: Values): void =>
      write(level, values);
  const elapsed = (label: string): string | undefined => {
    const start = starts.get(label);
    return start === undefined ? undefined : `${label}: ${(host.now() - start).toFixed(3)}ms`;
  };
  const group = (...values: Values): void => {
    if (values.length > 0) write('info', values);
    indent += '  ';
  };

  const methods = {
    log: at('info'),
    info: at('info'),
    debug: at('debug'),
    warn: at('warn'),
    error: at('error'),
    trace: (...values: Values): void => {
      const stack = new Error('trace').stack?.split('\n').slice(2).join('\n');
      write('debug', [`Trace: ${host.format(...values)}\n${stack ?? ''}`]);
    },
    assert: (condition?: unknown, ...values: Values): void => {
      if (!condition) write('error', ['Assertion failed:', ...values]);
    },
    dir: (value: unknown, options?: object): void => write('info', [host.inspect(value, options)]),
    dirxml: at('info'),
    table: at('info'),
    group,
    groupCollapsed: group,
    groupEnd: (): void => void (indent = indent.slice(2)),
    count: (label = 'default'): void => {
      counts.set(label, (counts.get(label) ?? 0) + 1);
      write('info', [`${label}: ${counts.get(label)}`]);
    },
    countReset: (label = 'default'): void => void counts.delete(label),
    time: (label = 'default'): void => void starts.set(label, host.now()),
    timeLog: (label = 'default', ...values: Values): void => {
      const text = elapsed(label);
      if (text !== undefined) write('info', [text, ...values]);
    },
    timeEnd: (label = 'default'): void => {
      const text = elapsed(label);
      starts.delete(label);
      if (text !== undefined) write('info', [text]);
    },
    clear: (): void => undefined,
  };
  return Object.defineProperty({ ...methods }, Symbol.toStringTag, hidden('console'));
}
