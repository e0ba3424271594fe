import type { Duplex, Readable } from 'node:stream';

export const RUNTIMES = ['javascript', 'python'] as const;
export type Runtime = (typeof RUNTIMES)[number];

export interface SandboxLimits {
  readonly memoryBytes: number;
  /** Cores; 0.5 is half of one. */
  readonly cpus: number;
  readonly pids: number;
}

export interface SandboxSpec {
  readonly runtime: Runtime;
  readonly limits: SandboxLimits;
  /** Nobody waits for it: where the driver can, its start lets everything else go first, until {@link Sandbox.hurry}. */
  readonly isBackground?: boolean;
}

/** How a sandbox ended, as far as its driver can tell. */
export interface SandboxExit {
  readonly reason:
    /** By itself, or by something that is not known. */
    | 'exited'
    /** By {@link Sandbox.kill}. */
    | 'killed'
    /** The memory limit was met. */
    | 'out_of_memory'
    /** The limit of processes was met. */
    | 'process_limit';
  /** For the log: exit code and the last of what it wrote to stderr. */
  readonly detail: string;
  /** Of an image's program, when it ended by itself. */
  readonly exitCode?: number;
  /** Why an image's program could not be started at all. */
  readonly startFailure?: string;
  /** The same, where it is known to be the program that cannot be, and not the sandbox around it. */
  readonly programFailure?: string;
}

/** A container with a runner in it, not yet known to be ready. */
export interface Sandbox {
  /** Unique on this machine. */
  readonly id: string;
  /** It was ready before anybody asked for it. */
  readonly isWarm?: boolean;
  /** Frames in both directions. Errors of the stream need no listener: `exited` tells. */
  readonly channel: Duplex;
  /** Never rejects; everything of the sandbox (processes, mounts, cgroups, files) is gone by then. */
  readonly exited: Promise<SandboxExit>;
  /** Ends it at once, whatever it does. Idempotent. */
  kill(): void;
  /** Somebody waits for it now, or it is ready. Idempotent; nothing where starts are never held back. */
  readonly hurry?: () => void;
  /** Sets other limits while it runs. */
  setLimits(limits: SandboxLimits): Promise<void>;
  /**
   * Makes a folder of this machine readable inside, and only inside this sandbox.
   *
   * @returns its path inside
   */
  share(name: string, folder: string): Promise<string>;
  /** What is charged to it now; undefined where it cannot be told. */
  memoryBytes(): Promise<number | undefined>;
  /**
   * Whether the memory limit has cost it a process. It may be there all the same, with a part of itself missing; absent
   * where this cannot be told, or cannot be.
   */
  readonly ranOutOfMemory?: () => Promise<boolean>;
}

/** A program of an image, and how it is run. */
export interface ImageProcess {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Where it starts, inside; absolute. */
  readonly folder: string;
  /** Never root. */
  readonly userId: number;
  readonly groupId: number;
}

export interface ImageSpec {
  /** Id of an image that is unpacked (images/store.ts). */
  readonly image: string;
  readonly process: ImageProcess;
  /** All that is to be read from its stdin. */
  readonly input: string;
  readonly limits: SandboxLimits;
}

/** What an image says about how it is run. */
export interface ImageFacts {
  /** Of the image; or of its sandbox, where each has its own. */
  readonly id: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Where it starts, inside. */
  readonly folder: string;
  readonly userId: number;
  readonly groupId: number;
}

export interface ImageRequest {
  readonly tenantId: string;
  /** Which step of which execution, for people who look at what runs. */
  readonly step: string;
  /** A reference, as it is written in the workflow. */
  readonly image: string;
  /** The step says what is run, and does not leave it to the image. */
  readonly namesCommand: boolean;
  readonly limits: SandboxLimits;
  /** How long the program may run. */
  readonly timeoutMs: number;
  /** Aborted: no longer wanted. */
  readonly signal: AbortSignal;
}

/** An image, ready for one program. */
export interface ImagePlace {
  readonly image: ImageFacts;
  /** Once for each place. @throws StepError `no_sandbox` */
  start(process: ImageProcess, input: string): Promise<ImageContainer>;
  /** Gives the place back, when the container has exited, or none was started. Idempotent. */
  release(): void;
}

/** A container with a program of an image in it. */
export interface ImageContainer {
  /** Unique on this machine. */
  readonly id: string;
  /** They end with it. Whoever reads slowly makes it wait. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** As {@link Sandbox.exited}. What it wrote last may still be on its way in `stdout` and `stderr`. */
  readonly exited: Promise<SandboxExit>;
  /** Ends it at once, whatever it does. Idempotent. */
  kill(): void;
}

export interface DriverDescription {
  readonly driver: 'gvisor' | 'kubernetes' | 'process';
  /** One line for logs, health and UI: what isolates, in which version. */
  readonly isolation: string;
}

/** Starts sandboxes in one way. */
export interface SandboxDriver {
  readonly description: DriverDescription;
  /** The runtimes it can start; a missing Python is no reason to have no JavaScript. */
  readonly runtimes: ReadonlySet<Runtime>;
  /** How many are ready and nobody's, where they wait for every worker at once. */
  readonly spares?: () => number;
  /** @throws when it cannot be started; nothing is left then */
  start(spec: SandboxSpec): Promise<Sandbox>;
  /** Undefined: it runs no images. @throws when nothing could be started; nothing is left then */
  readonly runImage?: (spec: ImageSpec) => Promise<ImageContainer>;
  /**
   * Instead of `runImage`, where others get and unpack images.
   *
   * @throws StepError; the signal's reason when it is aborted
   */
  readonly claimImage?: (request: ImageRequest, claimTimeoutMs: number) => Promise<ImagePlace>;
  /** Ends all that is left, and waits until it is gone. */
  close(): Promise<void>;
}

/** Why there is no driver, and what to do about it: the message of `no_sandbox`. */
export interface NoDriver {
  readonly description: undefined;
  readonly reason: string;
  readonly remedy: string;
}
