import { readFile } from 'node:fs/promises';
import type { Logger } from '../../../core/logger.ts';
import type {
  DriverDescription,
  ImageContainer,
  ImageSpec,
  Runtime,
  Sandbox,
  SandboxDriver,
  SandboxSpec,
} from '../driver.ts';
import { SHARED_INSIDE } from '../rootfs/layout.ts';
import { countOutOfMemoryKills } from './cgroups.ts';
import { LauncherClient } from './launcher-client.ts';
import type { LauncherSettings, RunscChoice } from './launcher-messages.ts';

export interface GvisorOptions {
  readonly settings: LauncherSettings;
  readonly runtimes: ReadonlySet<Runtime>;
  readonly logger: Logger;
  /** Called with what passed the self-test. */
  readonly onChosen: (choice: RunscChoice) => Promise<void>;
}

/**
 * Opens a launcher, and gives the driver that uses it.
 *
 * @param launcher one that was started and not opened yet
 * @throws LauncherRefusedError when this machine cannot run sandboxes
 */
export async function openGvisorDriver(
  options: GvisorOptions,
  launcher: LauncherClient,
): Promise<GvisorDriver> {
  const choice = await launcher.open(options.settings);
  await options.onChosen(choice);
  return new GvisorDriver(options, launcher, choice);
}

/** Sandboxes on this machine, each a container of runsc that the launcher starts and removes. */
export class GvisorDriver implements SandboxDriver {
  readonly description: DriverDescription;
  readonly runtimes: ReadonlySet<Runtime>;
  readonly #options: GvisorOptions;
  readonly #choice: RunscChoice;
  /** The one in use; another one once it has ended by itself. */
  #launcher: Promise<LauncherClient>;
  #closing: Promise<void> | undefined;

  constructor(options: GvisorOptions, launcher: LauncherClient, choice: RunscChoice) {
    this.runtimes = options.runtimes;
    this.description = { driver: 'gvisor', isolation: `gVisor ${choice.version} (systrap)` };
    this.#options = options;
    this.#choice = choice;
    this.#launcher = Promise.resolve(launcher);
    this.#watch(launcher);
  }

  async start(spec: SandboxSpec): Promise<Sandbox> {
    if (this.#closing !== undefined) throw new Error('the driver is closed');
    const launcher = await this.#launcher;
    const { answer, channel, exited } = await launcher.call({ type: 'start', ...spec });
    if (answer.type !== 'started' || channel === undefined || exited === undefined) {
      throw new Error('the launcher started a sandbox without a channel');
    }
    // Whoever reads the channel learns of its end from `exited`.
    channel.on('error', () => undefined);
    void exited.then(() => channel.destroy());
    return {
      id: answer.sandbox,
      channel,
      exited,
      kill: () => launcher.kill(answer.sandbox),
      hurry: () => launcher.hurry(answer.sandbox),
      setLimits: async (limits) => {
        await launcher.call({ type: 'set_limits', sandbox: answer.sandbox, limits });
      },
      share: async (name, folder) => {
        await launcher.call({ type: 'share', sandbox: answer.sandbox, name, folder });
        return `${SHARED_INSIDE}/${name}`;
      },
      memoryBytes: async () => {
        const text = await readFile(answer.memoryFile, 'utf8').catch(() => undefined);
        return text === undefined ? undefined : Number(text);
      },
      ranOutOfMemory: async () => (await countOutOfMemoryKills(answer.memoryEventsFile)) > 0,
    };
  }

  async runImage(spec: ImageSpec): Promise<ImageContainer> {
    if (this.#closing !== undefined) throw new Error('the driver is closed');
    const launcher = await this.#launcher;
    const { answer, outputs, exited } = await launcher.call({ type: 'run_image', ...spec });
    const { stdout, stderr } = outputs ?? {};
    if (
      answer.type !== 'image_started' ||
      stdout === undefined ||
      stderr === undefined ||
      exited === undefined
    ) {
      throw new Error('the launcher started an image without its outputs');
    }
    // Whoever reads them learns of the end from `exited`.
    for (const output of [stdout, stderr]) output.on('error', () => undefined);
    return { id: answer.sandbox, stdout, stderr, exited, kill: () => launcher.kill(answer.sandbox) };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#launcher.then(
      (launcher) => launcher.close(),
      () => undefined,
    ));
  }

  /**
   * A launcher that was killed takes its sandboxes with it; the next one sweeps what they left, and only then are they told
   * as ended.
   */
  #watch(launcher: LauncherClient): void {
    void launcher.ended.then(async () => {
      if (this.#closing === undefined) {
        this.#options.logger.error('the sandbox launcher has ended; all its sandboxes are lost');
        this.#launcher = this.#replace();
        await this.#launcher.catch((error: unknown) => {
          this.#options.logger.error({ err: error }, 'the sandbox launcher could not be started again');
        });
      }
      launcher.giveUp();
    });
  }

  async #replace(): Promise<LauncherClient> {
    if (process.getuid?.() !== 0) {
      throw new Error(
        'the sandbox launcher has ended, and the privileges to start another are dropped; restart the worker',
      );
    }
    const { settings, logger } = this.#options;
    const launcher = new LauncherClient(settings.path, logger);
    await launcher.open({ ...settings, known: this.#choice });
    this.#watch(launcher);
    return launcher;
  }
}
