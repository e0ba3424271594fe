import { execFile } from 'node:child_process';
import { closeSync, constants, fchmodSync, openSync } from 'node:fs';
import { lstat, readFile, realpath, stat, unlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ImageSpec, SandboxExit } from '../driver.ts';
import { IMAGE_ROOT } from '../images/place.ts';
import { makeFolder } from '../rootfs/files.ts';
import { describeEnd } from '../stderr.ts';
import { makeBundle } from './bundle.ts';
import {
  launchContainer,
  type Container,
  type ContainerDeps,
  type ContainerEnd,
  type ContainerStdio,
} from './containers.ts';

const run = promisify(execFile);

/** Containers that run a program of an image; what they say is read in the worker. */
export interface StartedImage {
  readonly container: Container;
  /** Not read here. */
  readonly stdout: Socket;
  readonly stderr: Socket;
}

export interface ImageDeps extends ContainerDeps {
  readonly imagesDirectory: string;
  /** Where mkfifo(1) is looked for. */
  readonly path: string;
}

/** runsc reports what keeps it from starting a program here, and its own panics there. */
const FAILURE_FILE = 'failure';
const PANIC_FILE = 'panic';
const KILLED = 128 + 9;
const MAX_FAILURE_CHARACTERS = 1000;

/** @throws when there is nothing that could be started; nothing is left then */
export async function startImage(deps: ImageDeps, id: string, spec: ImageSpec): Promise<StartedImage> {
  const root = await rootOf(deps.imagesDirectory, spec.image);
  const { command, environment, folder, userId, groupId } = spec.process;
  if (!(userId > 0 && groupId > 0)) throw new Error('no image is run as root');
  const outputs: Socket[] = [];
  try {
    const container = await launchContainer(deps, {
      id,
      limits: spec.limits,
      bundle: (places) =>
        makeBundle({
          ...places,
          sharedFolder: undefined,
          root,
          command,
          environment,
          image: { folder, userId, groupId },
        }),
      flags: (own) => [
        `--log=${join(own, FAILURE_FILE)}`,
        '--log-format=json',
        `--panic-log=${join(own, PANIC_FILE)}`,
      ],
      openStdio: (own) => openStdio(deps.path, own, spec.input, outputs),
      conclude,
    });
    return { container, stdout: outputs[0]!, stderr: outputs[1]! }; // openStdio has made both
  } catch (error) {
    for (const output of outputs) output.destroy();
    throw error;
  }
}

/** The worker unpacks images, so what it names has to be a folder of theirs, reached without a link. */
async function rootOf(imagesDirectory: string, image: string): Promise<string> {
  if (!/^[0-9a-f]{64}$/.test(image)) throw new Error(`${JSON.stringify(image)} is no id of an image`);
  const root = join(await realpath(imagesDirectory), image, IMAGE_ROOT);
  const isFolder = (await lstat(root)).isDirectory();
  if (!isFolder || (await realpath(root)) !== root) throw new Error(`${root} is no folder of an image`);
  return root;
}

/**
 * A file to read from, and pipes to write to. Not sockets, as runners have: programs open /dev/stdin and /dev/stdout anew,
 * which Linux and gVisor refuse for sockets.
 */
async function openStdio(
  path: string,
  own: string,
  text: string,
  outputs: Socket[],
): Promise<ContainerStdio> {
  const folder = join(own, 'stdio');
  // Nobody else on this machine may open them, though the container's user may do so inside.
  await makeFolder(folder, 0o700);
  const opened: number[] = [];
  const openHere = (file: string, flags: number): number => {
    // Numbers, not handles: a handle that is forgotten closes what another one has opened since.
    const fd = openSync(file, flags);
    opened.push(fd);
    return fd;
  };
  const close = (): void => opened.splice(0).forEach((fd) => closeSync(fd));
  try {
    const input = join(folder, 'stdin');
    await writeFile(input, text, { flag: 'wx' });
    const stdin = openHere(input, constants.O_RDONLY);
    fchmodSync(stdin, 0o444);
    const pipes = [join(folder, 'stdout'), join(folder, 'stderr')] as const;
    await run('mkfifo', ['-m', '666', ...pipes], { env: { PATH: path } });
    const [stdout, stderr] = pipes.map((pipe) => {
      // Reading first, without waiting for a writer; a writer finds it there then, and does not wait either.
      const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
      // A socket is what can be sent to another process. Nothing is read from it here.
      outputs.push(new Socket({ fd, readable: false, writable: false }));
      return openHere(pipe, constants.O_WRONLY);
    });
    for (const pipe of pipes) await unlink(pipe);
    return { ends: [stdin, stdout!, stderr!], close }; // there are two pipes
  } catch (error) {
    close();
    throw error;
  }
}

/** Tells a program that ended from a sandbox that did: runsc gives the exit code of either. */
async function conclude({ reason, code, signal, folder }: ContainerEnd): Promise<SandboxExit> {
  const failure = await readFailure(join(folder, FAILURE_FILE));
  const panic = await stat(join(folder, PANIC_FILE)).catch(() => undefined);
  const detail = describeEnd(code, signal, failure ?? '');
  if (reason !== 'exited') return { reason, detail };
  if (failure !== undefined) return { reason, detail, startFailure: failure };
  if (panic !== undefined && panic.size > 0) return { reason, detail: `${detail}; gVisor panicked` };
  // Whoever kills gVisor leaves nothing else, so a program that is killed from inside looks the same.
  return code === null || code === KILLED ? { reason, detail } : { reason, detail, exitCode: code };
}

async function readFailure(file: string): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  if (text === '') return undefined;
  const message = /"msg":("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  return (message === undefined ? text : (JSON.parse(message) as string)).slice(0, MAX_FAILURE_CHARACTERS);
}
