import type { Environment } from '../core/config/load.ts';
import { createApiClient, type ApiClient } from './api-client.ts';
import type { OutputFormat } from './output.ts';
import { printableJson } from './printable.ts';
import { resolveTarget } from './target.ts';

/** What a command sees of the world around it. */
export interface Io {
  readonly env: Environment;
  readonly cwd: string;
  /** Data: a text on stdout, ended with a newline. */
  readonly write: (text: string) => void;
  /** Everything else: a line on stderr. */
  readonly say: (line: string) => void;
  /** A file's text; `-` is standard input. */
  readonly readText: (file: string) => Promise<string>;
}

/** The options that every command takes. */
export interface GlobalOptions {
  readonly output: OutputFormat;
  readonly url?: string;
  readonly apiKey?: string;
}

/** A command's way to its target and to the person who called it. */
export interface Session {
  readonly io: Io;
  readonly api: ApiClient;
  /** Prints `data`, as JSON when that was asked for and else as `text` puts it. */
  show<T>(data: T, text: (data: T) => string): void;
  /** The same for one of many, on a line of its own. */
  showLine<T>(data: T, text: (data: T) => string): void;
}

/** Resolves the target and says on stderr which it is. */
export async function openSession(io: Io, options: GlobalOptions): Promise<Session> {
  const target = await resolveTarget(options, io.env, io.cwd);
  io.say(`target: ${target.description}`);
  return {
    io,
    api: createApiClient(target),
    show: makeShow(io, options.output, 2),
    showLine: makeShow(io, options.output),
  };
}

export const makeShow =
  (io: Io, format: OutputFormat, indent?: number): Session['show'] =>
  (data, text) =>
    io.write(format === 'json' ? printableJson(data, indent) : text(data));
