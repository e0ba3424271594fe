import type { ConfigKeys, ConfigOf } from '../config/key.ts';
import { loadConfig, type Environment } from '../config/load.ts';
import { AppError } from '../errors/app-error.ts';
import { failure, ok, warning, type Finding } from './finding.ts';

export interface ConfigurationResult<K extends ConfigKeys> {
  /** Undefined when something in it is wrong. */
  readonly config: ConfigOf<K> | undefined;
  readonly findings: readonly Finding[];
}

/**
 * Reads the configuration of a process as it would itself, and says every problem.
 *
 * @param further refuses what keys alone cannot tell, with an AppError `config_invalid`
 */
export function examineConfiguration<K extends ConfigKeys>(
  name: string,
  keys: K,
  env: Environment,
  further: (config: ConfigOf<K>) => void = () => undefined,
): ConfigurationResult<K> {
  const check = `configuration.${name}`;
  try {
    const config = loadConfig(keys, env);
    further(config);
    return { config, findings: [ok(check, `the ${name} can start with it`)] };
  } catch (raw) {
    if (!(raw instanceof AppError)) throw raw;
    const findings = raw.problems.map(({ path, message, fix }) =>
      failure(check, message.startsWith(path) ? message : `${path} ${message}`, fix),
    );
    return { config: undefined, findings };
  }
}

const LEAST_LENGTH = 8;

/** Variables that nothing reads and that look like one that is read: `WORKER_CONCURENCY`. */
export function misspeltFindings(known: readonly string[], env: Environment): readonly Finding[] {
  const names = new Set(known.flatMap((name) => [name, `${name}_FILE`]));
  return Object.keys(env)
    .filter((name) => name.length >= LEAST_LENGTH && !names.has(name))
    .flatMap((name) => {
      const meant = [...names].find((candidate) => isSlip(name, candidate));
      if (meant === undefined) return [];
      return [warning('configuration.names', `${name} is read by nothing`, `did you mean ${meant}?`)];
    });
}

/** Letters that a finger leaves out, doubles or swaps; other programs have variables of similar words. */
function isSlip(written: string, meant: string): boolean {
  if (Math.abs(written.length - meant.length) > 1) return false;
  let start = 0;
  while (start < meant.length && written[start] === meant[start]) start++;
  let end = 0;
  while (
    end < meant.length - start &&
    end < written.length - start &&
    written.at(-1 - end) === meant.at(-1 - end)
  )
    end++;
  return Math.max(written.length, meant.length) - start - end <= 2;
}
