import { execFile } from 'node:child_process';
import { open, readFile, realpath, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { coerceError } from '../../../core/errors/app-error.ts';
import type { Logger } from '../../../core/logger.ts';
import { z } from '../../../core/zod.ts';
import { writeFileAtomically } from '../rootfs/files.ts';
import type { RunscCandidate, RunscChoice } from './launcher-messages.ts';

const run = promisify(execFile);

/** First day of releases that are taken, as a number of eight digits. */
const OLDEST_RELEASE = 20_250_101;
const RUN_TIMEOUT_MS = 10_000;
/** Counts up with what the self-test asks for: what has passed less is tested again. */
const SELF_TEST_VERSION = 2;

/**
 * Flags for every container, as far as a release has them.
 *
 * Measured on 2 cores, start to first byte of Deno, p50 of 10: none of them 189 ms, all of them 199 ms, memory 25 MB in
 * both. `directfs` off takes from the sandbox process every capability and all access to files but through its gofer;
 * `overlay2` and `host-settings` cost and gain nothing that can be measured; a network namespace for each gofer is as
 * fast as a shared one, which runsc would leave mounted.
 *
 * Without systrap's fast path, sentry and program sleep until the other is done instead of spinning for up to 40 µs, which
 * takes the core from whoever could be done meanwhile: a start costs 467 ms of CPU instead of 552 on two busy cores, with it
 * a step as much as without.
 */
const WANTED_FLAGS = [
  '--directfs=false',
  '--overlay2=none',
  '--file-access=exclusive',
  '--file-access-mounts=shared',
  '--host-uds=none',
  '--host-fifo=none',
  '--host-settings=ignore',
  '--gofer-network-namespace=new',
  '--ignore-cgroups=false',
  '--net-raw=false',
  '--systrap-disable-fast-path=true',
] as const;

export interface RunscSearch {
  /** MILLRACE_RUNSC: the only one that is tried, when given. */
  readonly runscPath?: string;
  readonly cacheDirectory: string;
  /** The variable PATH. */
  readonly path: string;
  /** Whatever else the self-test depends on; a test counts only for the same. */
  readonly circumstances: readonly string[];
  readonly logger: Logger;
}

export interface FoundRunsc {
  readonly candidates: readonly RunscCandidate[];
  /** The first of them, if it has passed the self-test before. */
  readonly known: RunscChoice | undefined;
  /** Why others were refused. */
  readonly refused: readonly string[];
  /** Keeps what the self-test chose, for the next start. */
  readonly remember: (choice: RunscChoice) => Promise<void>;
}

/** Where `scripts/install-gvisor` puts it. */
export const installedRunsc = (cacheDirectory: string): string => join(cacheDirectory, 'runsc');

/** Looks where DESIGN section 6 says, and asks each that is there for its version. */
export async function findRunsc(search: RunscSearch): Promise<FoundRunsc> {
  const memory = await readMemory(search.cacheDirectory);
  const candidates: RunscCandidate[] = [];
  const refused: string[] = [];
  const keys = new Map<string, string>();
  for (const file of placesOf(search)) {
    try {
      const real = await realpath(file);
      if ([...keys.keys()].includes(real)) continue;
      const { size, mtimeMs } = await stat(real);
      // What is remembered of it has the flags that were wanted then.
      const key = JSON.stringify([real, size, mtimeMs, WANTED_FLAGS]);
      const candidate = memory.get(key)?.choice ?? (await inspectRunsc(real));
      if (typeof candidate === 'string') {
        refused.push(candidate);
        search.logger.warn({ file: real, reason: candidate }, 'runsc was refused');
        continue;
      }
      keys.set(real, key);
      candidates.push(candidate);
    } catch (raw) {
      if (file === search.runscPath) refused.push(`MILLRACE_RUNSC is ${file}: ${coerceError(raw).message}`);
    }
  }
  const circumstances = circumstancesOf(search);
  const first = candidates[0] && memory.get(keys.get(candidates[0].file) ?? '');
  return {
    candidates,
    known: first?.circumstances === circumstances ? first.choice : undefined,
    refused,
    remember: async (choice) => {
      const key = keys.get(choice.file);
      if (key === undefined) return;
      const kept = [...memory.entries()].filter(([known]) => known !== key).slice(-9);
      const content = JSON.stringify([...kept, [key, { circumstances, choice }]]);
      await writeFileAtomically(memoryFile(search.cacheDirectory), content).catch(() => undefined);
    },
  };
}

function placesOf(search: RunscSearch): readonly string[] {
  const onPath = search.path
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, 'runsc'));
  return [
    ...(search.runscPath === undefined ? [] : [search.runscPath]),
    installedRunsc(search.cacheDirectory),
    ...onPath,
  ];
}

/** The candidate, or why it is none. */
export async function inspectRunsc(file: string): Promise<RunscCandidate | string> {
  let printed: string;
  let flags: string;
  try {
    printed = (await run(file, ['--version'], { timeout: RUN_TIMEOUT_MS })).stdout;
    // On stderr in some releases.
    const output = await run(file, ['flags'], { timeout: RUN_TIMEOUT_MS, maxBuffer: 4_194_304 });
    flags = output.stdout + output.stderr;
  } catch (raw) {
    return `${file} does not run: ${coerceError(raw).message}`;
  }
  const version = parseVersion(printed) ?? (await readModuleVersion(file));
  if (version === undefined) return `${file} does not tell its version (${JSON.stringify(printed)})`;
  const date = Number(/20\d{6}/.exec(version)?.[0] ?? 0);
  if (date < OLDEST_RELEASE) return `${file} is ${version}; it has to be of 2025 or later`;
  return {
    file,
    version,
    flags: WANTED_FLAGS.filter((flag) => new RegExp(`^\\s*-+${flagName(flag)}\\b`, 'm').test(flags)),
  };
}

const flagName = (flag: string): string => flag.slice(2, flag.indexOf('='));

/** What a release or a distribution's package prints: `runsc version release-20260817.0`. Builds by hand print no date. */
export function parseVersion(printed: string): string | undefined {
  return /^runsc version (\S*20\d{6}\S*)/m.exec(printed)?.[1];
}

const MODULE_VERSION = /gvisor\.dev\/gvisor\t(v[0-9][0-9A-Za-z.+-]*-(20\d{6})\d{6}-[0-9a-f]{12})/;
const CHUNK_BYTES = 8_388_608;
const OVERLAP_BYTES = 256;

/**
 * A build by `go install` prints VERSION_MISSING, but Go writes the module's version into every program
 * (https://pkg.go.dev/runtime/debug#BuildInfo, as text).
 */
export async function readModuleVersion(file: string): Promise<string | undefined> {
  const handle = await open(file);
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES + OVERLAP_BYTES);
    for (let position = 0; ; position += CHUNK_BYTES) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, position);
      const found = chunk.subarray(0, bytesRead).indexOf('gvisor.dev/gvisor\tv');
      const text =
        found < 0 ? '' : chunk.toString('latin1', found, Math.min(found + OVERLAP_BYTES, bytesRead));
      const version = MODULE_VERSION.exec(text)?.[1];
      if (version !== undefined) return version;
      if (bytesRead < chunk.length) return undefined;
    }
  } finally {
    await handle.close();
  }
}

const choiceSchema = z.object({
  file: z.string(),
  version: z.string(),
  flags: z.array(z.string()),
  firstUserId: z.int().nullable(),
});
const memorySchema = z.array(
  z.tuple([z.string(), z.object({ circumstances: z.string(), choice: choiceSchema })]),
);

const memoryFile = (cacheDirectory: string): string => join(cacheDirectory, 'runsc.json');

async function readMemory(
  cacheDirectory: string,
): Promise<ReadonlyMap<string, { readonly circumstances: string; readonly choice: RunscChoice }>> {
  try {
    return new Map(memorySchema.parse(JSON.parse(await readFile(memoryFile(cacheDirectory), 'utf8'))));
  } catch {
    return new Map();
  }
}

const circumstancesOf = (search: RunscSearch): string =>
  JSON.stringify([SELF_TEST_VERSION, release(), process.getuid?.(), WANTED_FLAGS, ...search.circumstances]);
