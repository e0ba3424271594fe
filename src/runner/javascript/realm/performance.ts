import type { Host } from './host.ts';

interface Entry {
  readonly name: string;
  readonly entryType: 'mark' | 'measure';
  readonly startTime: number;
  readonly duration: number;
  readonly detail: unknown;
}

interface MarkOptions {
  readonly startTime?: number;
  readonly detail?: unknown;
}

/** The clock and the marks of one run; the slot's own timeline outlives it. */
export function createPerformance(host: Host): object {
  const { now, timeOrigin } = host;
  let entries: readonly Entry[] = [];
  const add = (entry: Entry): Entry => {
    entries = [...entries, entry];
    return entry;
  };
  const timeOf = (mark: unknown, otherwise: number): number => {
    if (typeof mark === 'number') return mark;
    return (
      entries.findLast(({ name, entryType }) => name === mark && entryType === 'mark')?.startTime ?? otherwise
    );
  };
  const clear = (type: Entry['entryType'], only?: string): void => {
    entries = entries.filter(({ name, entryType }) => entryType !== type || (only ?? name) !== name);
  };
  return {
    timeOrigin,
    now: () => now(),
    mark: (name: string, { startTime = now(), detail = null }: MarkOptions = {}) =>
      add({ name, entryType: 'mark', startTime, duration: 0, detail }),
    measure: (name: string, start?: unknown, end?: unknown) => {
      const startTime = timeOf(start, 0);
      return add({
        name,
        entryType: 'measure',
        startTime,
        duration: timeOf(end, now()) - startTime,
        detail: null,
      });
    },
    clearMarks: (name?: string) => clear('mark', name),
    clearMeasures: (name?: string) => clear('measure', name),
    getEntries: () => [...entries],
    getEntriesByName: (wanted: string) => entries.filter(({ name }) => name === wanted),
    getEntriesByType: (type: string) => entries.filter(({ entryType }) => entryType === type),
    toJSON: () => ({ timeOrigin }),
  };
}
