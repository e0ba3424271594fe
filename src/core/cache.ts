/** A bounded cache of things that are loaded, each for a while. */
export interface LoadingCache<K, V> {
  /** The value under `key`; concurrent callers share one load. A failed load is not kept. */
  get(key: K): Promise<V>;
  forget(matches: (key: K) => boolean): void;
}

export interface LoadingCacheOptions<K, V> {
  readonly load: (key: K) => Promise<V>;
  readonly maxEntries: number;
  /** After this long a value is loaded anew; undefined: never, for what cannot change. */
  readonly maxAgeMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** Evicts what was used the longest ago. Keys are compared as Map keys: use strings. */
export function createLoadingCache<K, V>(options: LoadingCacheOptions<K, V>): LoadingCache<K, V> {
  const { maxEntries, maxAgeMs = Infinity, now = () => performance.now() } = options;
  const entries = new Map<K, { readonly value: Promise<V>; readonly loadedAtMs: number }>();
  return {
    get(key) {
      const present = entries.get(key);
      if (present !== undefined && now() - present.loadedAtMs < maxAgeMs) {
        // Last in the map is what was used last.
        entries.delete(key);
        entries.set(key, present);
        return present.value;
      }
      const entry = { value: options.load(key), loadedAtMs: now() };
      entries.delete(key);
      entries.set(key, entry);
      entry.value.catch(() => {
        if (entries.get(key) === entry) entries.delete(key);
      });
      if (entries.size > maxEntries) entries.delete(entries.keys().next().value as K); // not empty
      return entry.value;
    },
    forget(matches) {
      for (const key of entries.keys()) if (matches(key)) entries.delete(key);
    },
  };
}
