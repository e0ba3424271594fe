import { readFile } from 'node:fs/promises';
import { coerceError } from '../errors/app-error.ts';
import type { ConfigKeys, ConfigOf } from './key.ts';
import { loadConfig, type Environment } from './load.ts';

export interface FollowOptions<K extends ConfigKeys> {
  readonly keys: K;
  readonly env: Environment;
  /** 0: never. */
  readonly everyMs: number;
  /** Told of each change after which the configuration is still a good one. */
  readonly onChange: (change: SecretChange<K>) => void;
  /** Told once of each change after which it is not; what was read before goes on. */
  readonly onError: (error: Error) => void;
}

export interface SecretChange<K extends ConfigKeys> {
  /** Of the keys whose files changed. */
  readonly names: readonly (keyof K & string)[];
  readonly config: ConfigOf<K>;
}

/**
 * Looks every so often whether the files that `<NAME>_FILE` names say something else. Looking beats watching: kubelet
 * replaces a link two folders above the file, which tells no watcher of the file.
 *
 * @returns ends it; undefined when there is nothing to look at
 * @see https://kubernetes.io/docs/concepts/storage/volumes/#secret
 */
export function followSecrets<K extends ConfigKeys>(options: FollowOptions<K>): (() => void) | undefined {
  const { keys, env, everyMs, onChange, onError } = options;
  const files = Object.entries(keys).flatMap(([name, { secret }]) => {
    const file = env[`${name}_FILE`];
    return secret && file ? [{ name, file }] : [];
  });
  if (files.length === 0 || everyMs === 0) return undefined;

  const read = (): Promise<readonly string[]> =>
    Promise.all(files.map(({ file }) => readFile(file, 'utf8').catch(() => '')));
  let good: readonly string[] | undefined;
  let refused = '';
  const look = async (): Promise<void> => {
    const texts = await read();
    good ??= texts;
    const names = files.filter((_, index) => texts[index] !== good?.[index]).map(({ name }) => name);
    const seen = texts.join('\0');
    if (names.length === 0 || seen === refused) return;
    try {
      const config = loadConfig(keys, env);
      good = texts;
      refused = '';
      onChange({ names, config });
    } catch (raw) {
      refused = seen;
      onError(coerceError(raw));
    }
  };
  let looking = look();
  const timer = setInterval(() => {
    looking = looking.then(look);
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
