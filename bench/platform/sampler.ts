import { setTimeout as delay } from 'node:timers/promises';
import { cpuMsOfTree, residentBytes } from './proc.ts';

interface Sample {
  readonly atMs: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

/** Looks at processes several times a second, to tell afterwards what they used between two moments. */
export interface Sampler {
  watch(name: string, pid: number): void;
  /** CPU milliseconds that something else counts, undefined while it does not. */
  watchCounter(name: string, read: () => Promise<number | undefined>): void;
  /** CPU milliseconds used between two times of `Date.now()`, interpolated. */
  cpuMs(name: string, fromMs: number, toMs: number): number;
  /** The most memory seen since it is watched. */
  peakBytes(name: string): number;
  stop(): Promise<void>;
}

type Look = () => Promise<Omit<Sample, 'atMs'> | undefined>;

const EVERY_MS = 200;

async function lookAt(pid: number): Promise<Omit<Sample, 'atMs'> | undefined> {
  const [cpuMs, bytes] = await Promise.all([cpuMsOfTree(pid), residentBytes(pid)]);
  return bytes === undefined ? undefined : { cpuMs, bytes };
}

export function startSampler(): Sampler {
  const watched = new Map<string, { readonly look: Look; readonly samples: Sample[] }>();
  const stopping = new AbortController();

  const look = async (): Promise<void> => {
    for (const one of watched.values()) {
      const seen = await one.look();
      if (seen !== undefined) one.samples.push({ atMs: Date.now(), ...seen });
    }
  };
  const looking = (async () => {
    while (!stopping.signal.aborted) {
      await look();
      await delay(EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  const samplesOf = (name: string): readonly Sample[] => {
    const samples = watched.get(name)?.samples ?? [];
    if (samples.length < 2) throw new Error(`nothing was seen of the process ${name}`);
    return samples;
  };

  return {
    watch: (name, pid) => void watched.set(name, { look: () => lookAt(pid), samples: [] }),
    watchCounter: (name, read) =>
      void watched.set(name, {
        look: async () => {
          const cpuMs = await read();
          return cpuMs === undefined ? undefined : { cpuMs, bytes: 0 };
        },
        samples: [],
      }),
    cpuMs: (name, fromMs, toMs) => interpolate(samplesOf(name), toMs) - interpolate(samplesOf(name), fromMs),
    peakBytes: (name) => Math.max(...samplesOf(name).map((sample) => sample.bytes)),
    async stop() {
      stopping.abort();
      await looking;
    },
  };
}

function interpolate(samples: readonly Sample[], atMs: number): number {
  const after = samples.findIndex((sample) => sample.atMs >= atMs);
  if (after === -1) return samples.at(-1)!.cpuMs; // at least two
  if (after === 0) return samples[0]!.cpuMs;
  const [a, b] = [samples[after - 1]!, samples[after]!];
  return a.cpuMs + ((atMs - a.atMs) / (b.atMs - a.atMs)) * (b.cpuMs - a.cpuMs);
}
