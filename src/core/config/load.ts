import { readFileSync } from 'node:fs';
import { appError, coerceError, type Problem } from '../errors/app-error.ts';
import type { ConfigKeys, ConfigOf } from './key.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the configuration from the environment.
 *
 * Empty values count as unset. A key marked secret is also read from the file that `<NAME>_FILE` names (one trailing
 * newline is dropped); setting both is a problem.
 *
 * @returns the values, frozen, under the names of their variables
 * @throws AppError `config_invalid` that lists every problem at once, with the variables' names; values of secrets
 *   are never part of it
 */
export function loadConfig<K extends ConfigKeys>(keys: K, env: Environment): ConfigOf<K> {
  const problems: Problem[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(keys)) {
    const raw = readValue(name, key.secret, env, problems);
    const parsed = key.schema.safeParse(raw);
    if (parsed.success) values[name] = parsed.data;
    else {
      const message = parsed.error.issues.map((issue) => issue.message).join('; ');
      problems.push({ path: name, message, fix: key.description });
    }
  }
  if (problems.length > 0) throw appError('config_invalid', { args: [problems.length], problems });
  return Object.freeze(values) as ConfigOf<K>;
}

function readValue(name: string, secret: boolean, env: Environment, problems: Problem[]): string | undefined {
  const direct = env[name] === '' ? undefined : env[name];
  const file = secret ? env[`${name}_FILE`] : undefined;
  if (file === undefined || file === '') return direct;
  if (direct !== undefined) {
    problems.push({
      path: name,
      message: `${name} and ${name}_FILE are both set`,
      fix: 'set only one of them',
    });
    return direct;
  }
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (raw) {
    problems.push({
      path: `${name}_FILE`,
      message: `the file cannot be read: ${coerceError(raw).message}`,
      fix: 'name a file that this process may read',
    });
    return undefined;
  }
}
