import { glob } from 'node:fs/promises';

/**
 * The environment of a process whose wall clock is off by so many seconds; its monotonic clock is right, as that of a
 * machine with a wrong time is.
 *
 * @see https://github.com/wolfcw/libfaketime/blob/v0.9.10/README
 */
export async function fakeClock(offsetS: number): Promise<Readonly<Record<string, string>>> {
  for await (const library of glob('/usr/lib/*/faketime/libfaketime.so.1')) {
    return {
      LD_PRELOAD: library,
      FAKETIME: `${offsetS < 0 ? '' : '+'}${offsetS}s`,
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      // The time is asked for often; the library need not ask whether it has changed each time.
      FAKETIME_CACHE_DURATION: '60',
    };
  }
  throw new Error('The tests need libfaketime. Run `scripts/setup-test-machine`.');
}
