/** The exit status after each, as shells have it: 128 and its number. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/**
 * For programs that start others: Ctrl-C and the like stop what was started, and end the process.
 *
 * @param stop when it fails, the process ends all the same
 * @param say told which signal it was
 * @returns whether one has come: what fails from then on fails because of it
 */
export function endOnSignals(stop: () => Promise<unknown>, say: (message: string) => void): () => boolean {
  let hasCome = false;
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.once(signal, () => {
      hasCome = true;
      say(`${signal}: stopping`);
      void stop()
        .catch(() => undefined)
        .finally(() => process.exit(code));
    });
  }
  return () => hasCome;
}
