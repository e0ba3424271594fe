import { expect, it } from 'vitest';
import { judgeSoak, type SoakSample } from './soak-verdict.ts';

const MINUTES = 60;

/** An hour that warms up for some minutes and then stays as it is, but for what `change` makes of it. */
const hour = (change: (minute: number) => Partial<SoakSample> = () => ({})): readonly SoakSample[] =>
  Array.from({ length: MINUTES }, (_, minute) => ({
    minute,
    apiMb: minute < 10 ? 100 + minute : 110,
    workerMb: minute < 10 ? 150 + minute : 160,
    // As connections come and go.
    apiDescriptors: 40 + ((minute * 7) % 30),
    workerDescriptors: minute < 10 ? 30 : 60,
    dispatchIndexMb: minute / 30,
    bytesPerExecution: minute < 10 ? 4000 - minute * 40 : 3600,
    ...change(minute),
  }));

const tooMuch = (samples: readonly SoakSample[]): readonly string[] =>
  judgeSoak(samples)
    .filter(({ isWithin }) => !isWithin)
    .map(({ text }) => text.split(':')[0]!); // it has one

it('lets pass what only warms up and what comes and goes', () => {
  expect(tooMuch(hour())).toEqual([]);
});

it.each([
  ['apiMb', (minute: number) => ({ apiMb: 110 + (minute / 60) * 1.5 })],
  ['workerMb', (minute: number) => ({ workerMb: 160 + (minute / 60) * 1.5 })],
  [
    'apiDescriptors',
    (minute: number) => ({ apiDescriptors: 40 + ((minute * 7) % 30) + Math.floor(minute / 4) }),
  ],
  ['workerDescriptors', (minute: number) => ({ workerDescriptors: 60 + Math.floor(minute / 4) })],
  ['bytesPerExecution', (minute: number) => ({ bytesPerExecution: 3600 + minute * 2 })],
] as const)('finds that %s grows', (name, change) => {
  expect(tooMuch(hour(change))).toEqual([name]);
});

it('says what each has come to', () => {
  expect(judgeSoak(hour()).map(({ text }) => text)).toEqual([
    'apiMb: 0.00 MB/h after the warm-up',
    'workerMb: 0.00 MB/h after the warm-up',
    'apiDescriptors: at least 42 after the warm-up, 42 at the end',
    'workerDescriptors: at least 60 after the warm-up, 60 at the end',
    'bytesPerExecution: 0 bytes/h after the warm-up, of 3600',
  ]);
});
