import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { CommanderError } from 'commander';
import { coerceError, errorCodeOf } from '../core/errors/app-error.ts';
import { CliError, EXIT } from './cli-error.ts';
import { explain } from './problems.ts';
import { createProgram } from './program.ts';
import type { Io } from './session.ts';

const io: Io = {
  env: process.env,
  cwd: process.cwd(),
  write: (data) => void process.stdout.write(`${data}\n`),
  say: (line) => void process.stderr.write(`${line}\n`),
  readText: async (file) => {
    try {
      return file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
    } catch (raw) {
      throw new CliError(`${file} cannot be read: ${coerceError(raw).message}`, {
        exitCode: EXIT.usage,
        cause: raw,
      });
    }
  },
};

/** Runs the command of `process.argv` and sets the exit code: 0 done, 1 failed, 2 wrong usage, 78 bad configuration. */
export async function main(): Promise<void> {
  // Whoever reads our output may stop early, as `head` does.
  process.stdout.on('error', (error) => {
    if (errorCodeOf(error) !== 'EPIPE') throw error;
    process.exit(EXIT.ok);
  });
  try {
    process.exitCode = await createProgram(io)(process.argv.slice(2));
  } catch (raw) {
    if (raw instanceof CommanderError) {
      // It has told what was wrong; help and version end this way too, with 0.
      process.exitCode = raw.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    const { lines, exitCode } = explain(raw);
    for (const line of lines) io.say(line);
    process.exitCode = exitCode;
  }
}
