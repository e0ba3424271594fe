import { CliError, EXIT } from './cli-error.ts';

/** How `--input` gets at files; `-` is standard input. */
export type ReadText = (file: string) => Promise<string>;

/**
 * The input of a manual start from the values of `--input`: JSON, `@file` with JSON, or any number of `key=value`, whose
 * values are JSON where they parse as such and text otherwise.
 *
 * @returns undefined when there were none
 * @throws CliError (usage) that shows the three forms
 */
export async function parseInput(values: readonly string[], readText: ReadText): Promise<unknown> {
  if (values.length === 0) return undefined;
  const [first] = values;
  if (values.length === 1 && first!.startsWith('@')) {
    const file = first!.slice(1);
    return parseJson(await readText(file), file === '-' ? 'standard input' : file);
  }
  if (values.every((value) => PAIR.test(value))) {
    return Object.fromEntries(
      values.map((value) => {
        const [, key, text] = PAIR.exec(value)!; // tested above
        return [key!, jsonOrText(text!)];
      }),
    );
  }
  if (values.length === 1) return parseJson(first!, '--input');
  throw usage(`${JSON.stringify(values.find((value) => !PAIR.test(value)))} is no key=value.`);
}

// A JSON text starts with none of these characters unless it is a bare word such as `true`.
const PAIR = /^([A-Za-z_][\w.-]*)=(.*)$/s;

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (raw) {
    throw usage(`${source} is not JSON: ${(raw as SyntaxError).message}.`);
  }
}

const usage = (message: string): CliError =>
  new CliError(
    `${message} Give --input '{"key": "value"}', --input @file.json, or --input key=value (repeatable).`,
    {
      exitCode: EXIT.usage,
    },
  );
