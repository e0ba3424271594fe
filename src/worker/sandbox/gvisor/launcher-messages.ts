import type { ImageSpec, Runtime, SandboxExit, SandboxLimits } from '../driver.ts';
import type { RootfsManifest } from '../rootfs/layout.ts';

/**
 * What worker and launcher say to each other over the channel that Node opens between them. The launcher keeps the
 * privileges that the worker drops, so nothing here names a program, a path to write to or a flag: the worker says which
 * runtime and how much of what, the launcher knows the rest from its first message. What a container of an image runs is
 * the worker's to say, for it is run inside.
 */
export type ToLauncher =
  | ({ readonly type: 'open' } & LauncherSettings)
  | {
      readonly type: 'start';
      readonly call: number;
      readonly runtime: Runtime;
      readonly limits: SandboxLimits;
      readonly isBackground?: boolean;
    }
  | ({ readonly type: 'run_image'; readonly call: number } & ImageSpec)
  | {
      readonly type: 'set_limits';
      readonly call: number;
      readonly sandbox: string;
      readonly limits: SandboxLimits;
    }
  | {
      readonly type: 'share';
      readonly call: number;
      readonly sandbox: string;
      readonly name: string;
      readonly folder: string;
    }
  | { readonly type: 'hurry'; readonly sandbox: string }
  | { readonly type: 'kill'; readonly sandbox: string }
  | { readonly type: 'close' };

/** The answer to a call, or what happened by itself. */
export type FromLauncher =
  | { readonly type: 'ready'; readonly choice: RunscChoice; readonly swept: readonly string[] }
  | { readonly type: 'refused'; readonly reason: string; readonly remedy: string }
  /** With the socket that is the sandbox's stdin; `started` of the same call follows. */
  | { readonly type: 'stdin'; readonly call: number }
  /** With the socket that is its stdout. */
  | {
      readonly type: 'started';
      readonly call: number;
      readonly sandbox: string;
      readonly memoryFile: string;
      readonly memoryEventsFile: string;
    }
  /** With what an image's program writes to; `image_started` of the same call follows. */
  | { readonly type: 'output'; readonly call: number; readonly stream: 'stdout' | 'stderr' }
  | { readonly type: 'image_started'; readonly call: number; readonly sandbox: string }
  | { readonly type: 'done'; readonly call: number }
  | { readonly type: 'failed'; readonly call: number; readonly message: string }
  | { readonly type: 'exited'; readonly sandbox: string; readonly exit: SandboxExit }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn';
      readonly message: string;
      readonly fields: object;
    };

export interface LauncherSettings {
  /** In the order in which they are tried. */
  readonly candidates: readonly RunscCandidate[];
  /** What passed the test before, in the same circumstances: not tested again. */
  readonly known: RunscChoice | undefined;
  readonly root: string;
  readonly manifest: RootfsManifest;
  readonly stateDirectory: string;
  /** Where the worker unpacks images; the programs of others are not run. */
  readonly imagesDirectory: string;
  /** Only what is below these may be shared. */
  readonly shareFrom: readonly string[];
  readonly path: string;
}

/** A runsc that is new enough. */
export interface RunscCandidate {
  readonly file: string;
  readonly version: string;
  /** The flags we would like that it knows; others have come and gone between releases. */
  readonly flags: readonly string[];
}

/** A runsc that has started a container in the very set-up that is used. */
export interface RunscChoice extends RunscCandidate {
  /** See `BundleInput`; null where there can be no user namespace. */
  readonly firstUserId: number | null;
}
