import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BUNDLE_LIMITS, mebibytes } from '../../core/bundle/limits.ts';
import { parseRequirements, REQUIREMENTS_FILE } from '../../core/bundle/requirements.ts';
import { fileProblem, WHEEL_FOLDER } from '../../core/bundle/source-files.ts';
import { describeTarget, platformsOf, type PythonTarget } from '../../core/bundle/wheel-name.ts';
import { errorCodeOf, type Problem } from '../../core/errors/app-error.ts';
import { CliError } from '../cli-error.ts';

const run = promisify(execFile);
const TIMEOUT_MS = 600_000;

export interface CollectedWheels {
  readonly files: Readonly<Record<string, { readonly base64: string }>>;
  readonly problems: readonly Problem[];
}

export interface WheelOptions {
  readonly target: PythonTarget;
  /** Where they are kept for the next time. */
  readonly cacheDirectory: string;
  readonly say: (line: string) => void;
  /** Of the person who deploys: pip's configuration is in it. */
  readonly env: NodeJS.ProcessEnv;
}

/** The wheels that requirements.txt lists, downloaded by pip for the Python that steps run in. */
export async function collectWheels(requirements: string, options: WheelOptions): Promise<CollectedWheels> {
  const { requirements: listed, problems } = parseRequirements(requirements);
  if (problems.length > 0) return { files: {}, problems };
  if (listed.length === 0) return { files: {}, problems: [] };
  const folder = await download(requirements, options);
  if (typeof folder !== 'string') return { files: {}, problems: [folder.problem] };
  const names = (await readdir(folder)).toSorted();
  const contents = await Promise.all(names.map((name) => readFile(join(folder, name))));
  const bytes = contents.reduce((sum, content) => sum + content.length, 0);
  if (bytes > BUNDLE_LIMITS.wheelBytes) {
    const message = `the wheels have ${mebibytes(bytes)}; at most ${mebibytes(BUNDLE_LIMITS.wheelBytes)} are allowed`;
    return { files: {}, problems: [fileProblem(REQUIREMENTS_FILE, 'too_large', message, 'require less')] };
  }
  const files = Object.fromEntries(
    names.map((name, index) => [WHEEL_FOLDER + name, { base64: contents[index]!.toString('base64') }]), // same length
  );
  return { files, problems: [] };
}

/** A folder with the wheels: the cache's, where the same file was asked for before. */
async function download(
  requirements: string,
  { target, cacheDirectory, say, env }: WheelOptions,
): Promise<string | { readonly problem: Problem }> {
  const key = createHash('sha256')
    .update(JSON.stringify([target, requirements]))
    .digest('hex');
  const folder = join(cacheDirectory, 'wheels', key);
  const isCached = await readdir(folder).then(
    () => true,
    () => false,
  );
  if (isCached) return folder;
  await mkdir(join(cacheDirectory, 'wheels'), { recursive: true });
  const temporary = await mkdtemp(join(cacheDirectory, 'wheels', '.new-'));
  const listFile = join(temporary, REQUIREMENTS_FILE);
  const wheels = join(temporary, 'wheels');
  try {
    await mkdir(wheels);
    await writeFile(listFile, requirements);
    say(`downloading the wheels of ${REQUIREMENTS_FILE} for ${describeTarget(target)}`);
    await pip(listFile, wheels, target, env);
    await rename(wheels, folder).catch((error: unknown) => {
      // Another deployment was faster with the same.
      if (!['ENOTEMPTY', 'EEXIST'].includes(errorCodeOf(error) ?? '')) throw error;
    });
    return folder;
  } catch (raw) {
    const stderr = stderrOf(raw);
    if (stderr === undefined) throw raw;
    return { problem: pipProblem(stderr, requirements, target) };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function pip(
  listFile: string,
  folder: string,
  target: PythonTarget,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  // prettier-ignore
  const args = [
    '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-input',
    '--require-hashes', '--only-binary=:all:', '--dest', folder, '--requirement', listFile,
    '--implementation', 'cp', '--python-version', target.version.join('.'),
    ...[`cp${target.version.join('')}`, 'abi3', 'none'].flatMap((abi) => ['--abi', abi]),
    ...platformsOf(target).flatMap((platform) => ['--platform', platform]),
  ];
  try {
    await run('python3', args, { env, timeout: TIMEOUT_MS, maxBuffer: 16 * 1024 * 1024 });
  } catch (raw) {
    if (errorCodeOf(raw) !== 'ENOENT') throw raw;
    throw new CliError(
      `${REQUIREMENTS_FILE} needs pip to download its wheels, and there is no python3 here; install Python with pip`,
      { cause: raw },
    );
  }
}

const stderrOf = (raw: unknown): string | undefined =>
  raw instanceof Error && 'stderr' in raw && typeof raw.stderr === 'string' ? raw.stderr : undefined;

/** What pip says, as a problem with the line of requirements.txt that it names. */
function pipProblem(stderr: string, requirements: string, target: PythonTarget): Problem {
  const errors = stderr
    .split('\n')
    .map((line) => line.replace(/^ERROR:\s*/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('WARNING') && !line.startsWith('[notice]'));
  const message = errors.slice(0, 6).join(' ').slice(0, 800) || 'pip failed and did not say why';
  const named = /No matching distribution found for ([A-Za-z0-9._-]+)|\b([A-Za-z0-9._-]+)==\S+ from/.exec(
    stderr,
  );
  const name = named?.[1] ?? named?.[2];
  const { requirements: listed } = parseRequirements(requirements);
  const line = listed.find((requirement) => requirement.name === name?.toLowerCase())?.line;
  return fileProblem(REQUIREMENTS_FILE, 'pip', `pip: ${message}`, fixOf(stderr, target), {
    ...(line !== undefined && { line, column: 1 }),
  });
}

function fixOf(stderr: string, target: PythonTarget): string {
  if (/hashes are required|all requirements must have their versions pinned/i.test(stderr)) {
    return 'list what packages depend on, too, with hashes: `pip-compile --generate-hashes requirements.in` does';
  }
  if (/DO NOT MATCH THE HASHES/i.test(stderr)) {
    return 'find out why the package has changed before you take its new hash';
  }
  if (/No matching distribution/i.test(stderr)) {
    return `require a version that has a wheel for ${describeTarget(target)}`;
  }
  return 'see what pip says';
}
