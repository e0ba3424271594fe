import { slopeOf } from './statistics.ts';

/** What a soak looks at, many times over its length. */
export interface SoakSample {
  readonly minute: number;
  readonly apiMb: number;
  readonly workerMb: number;
  readonly apiDescriptors: number;
  readonly workerDescriptors: number;
  readonly dispatchIndexMb: number;
  readonly bytesPerExecution: number;
}

export interface Verdict {
  readonly text: string;
  readonly isWithin: boolean;
}

const WARM_UP_SHARE = 0.25;
/** FAULTS, Load and soak. */
const MAX_MB_PER_HOUR = 1;
/** A leak of one for each request would be hundreds of thousands; a connection or two may have been opened for good. */
const MAX_MORE_DESCRIPTORS = 5;
/** Tables and indexes are to grow with what is in them and no more; this much is what vacuum comes late for. */
const MAX_BYTES_PERCENT_PER_HOUR = 2;

/** Whether what must not grow has grown after the warm-up. */
export function judgeSoak(samples: readonly SoakSample[]): readonly Verdict[] {
  const settled = samples.slice(Math.floor(samples.length * WARM_UP_SHARE));
  return [
    ...(['apiMb', 'workerMb'] as const).map((key) => {
      const slope = hourlySlope(settled, key);
      return verdict(
        `${key}: ${slope.toFixed(2)} MB/h after the warm-up`,
        slope < MAX_MB_PER_HOUR,
        `${MAX_MB_PER_HOUR} MB/h`,
      );
    }),
    ...(['apiDescriptors', 'workerDescriptors'] as const).map((key) => {
      const [before, after] = lowestAtEnds(settled, key);
      return verdict(
        `${key}: at least ${before} after the warm-up, ${after} at the end`,
        after - before <= MAX_MORE_DESCRIPTORS,
        `${MAX_MORE_DESCRIPTORS} more`,
      );
    }),
    judgeBytes(settled),
  ];
}

function judgeBytes(settled: readonly SoakSample[]): Verdict {
  const slope = hourlySlope(settled, 'bytesPerExecution');
  const mean = settled.reduce((sum, one) => sum + one.bytesPerExecution, 0) / settled.length;
  const limit = (mean * MAX_BYTES_PERCENT_PER_HOUR) / 100;
  return verdict(
    `bytesPerExecution: ${slope.toFixed(0)} bytes/h after the warm-up, of ${mean.toFixed(0)}`,
    slope < limit,
    `${limit.toFixed(0)} bytes/h`,
  );
}

const verdict = (text: string, isWithin: boolean, limit: string): Verdict => ({
  text: isWithin ? text : `${text}: TOO MUCH, ${limit} is allowed`,
  isWithin,
});

const hourlySlope = (samples: readonly SoakSample[], key: keyof SoakSample): number =>
  slopeOf(samples.map((one) => [one.minute / 60, one[key]]));

/** In the first and the last third: connections come and go with the load, and what leaks stays. */
function lowestAtEnds(samples: readonly SoakSample[], key: keyof SoakSample): readonly [number, number] {
  const third = Math.max(1, Math.floor(samples.length / 3));
  const lowest = (some: readonly SoakSample[]): number => Math.min(...some.map((one) => one[key]));
  return [lowest(samples.slice(0, third)), lowest(samples.slice(-third))];
}
