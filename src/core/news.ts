const SAY_AGAIN_MS = 60_000;
const MAX_REMEMBERED = 100;

/**
 * Keeps out of the log what was said a moment ago: what fails is tried again every second or two, and says the same each
 * time.
 *
 * @param now milliseconds, of a clock that only goes forward
 * @returns whether a message is to be said: for the first time, or again after `sayAgainMs`
 */
export function createNewsFilter(
  sayAgainMs = SAY_AGAIN_MS,
  now: () => number = () => performance.now(),
): (message: string) => boolean {
  const saidAtMs = new Map<string, number>();
  return (message) => {
    const nowMs = now();
    if (nowMs - (saidAtMs.get(message) ?? -Infinity) < sayAgainMs) return false;
    // Messages may carry ports and times: what was said longest ago makes room.
    saidAtMs.delete(message);
    saidAtMs.set(message, nowMs);
    const [oldest] = saidAtMs.keys();
    if (saidAtMs.size > MAX_REMEMBERED) saidAtMs.delete(oldest!); // there is one
    return true;
  };
}
