import type { Services } from './services.ts';

/** The exit status after each, as shells have it: 128 and its number. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Ctrl-C and the like stop everything that was started, also what is only just starting.
 *
 * @returns whether that has begun: what fails from then on fails because of it
 */
export function stopOnSignals(starting: Promise<Services>): () => boolean {
  let interrupted = false;
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.once(signal, () => {
      interrupted = true;
      process.stderr.write(`${signal}: stopping\n`);
      void starting
        .then((services) => services.stop())
        .catch(() => undefined) // what could not be started has been stopped
        .finally(() => process.exit(code));
    });
  }
  return () => interrupted;
}
