import { setTimeout as delay } from 'node:timers/promises';

/** Waits until a figure has not changed for 50 looks, 2 ms apart: what was on its way has arrived. */
export async function settled(figure: () => number): Promise<number> {
  let last = figure();
  for (let same = 0; same < 50;) {
    await delay(2);
    const now = figure();
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}
