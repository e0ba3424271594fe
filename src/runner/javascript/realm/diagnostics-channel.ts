type Subscriber = (message: unknown, name: string | symbol) => void;

class Channel {
  readonly name: string | symbol;
  readonly #subscribers = new Set<Subscriber>();

  constructor(name: string | symbol) {
    this.name = name;
  }

  get hasSubscribers(): boolean {
    return this.#subscribers.size > 0;
  }

  subscribe(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
  }

  unsubscribe(subscriber: Subscriber): boolean {
    return this.#subscribers.delete(subscriber);
  }

  publish(message: unknown): void {
    for (const subscriber of this.#subscribers) subscriber(message, this.name);
  }

  runStores<T>(
    _context: unknown,
    callback: (...values: readonly unknown[]) => T,
    self?: unknown,
    ...values: unknown[]
  ): T {
    return Reflect.apply(callback, self, values);
  }
}

/** `node:diagnostics_channel` of one run: Node's own keeps its subscribers for as long as the process lives. */
export function createDiagnosticsChannel(): object {
  const channels = new Map<string | symbol, Channel>();
  const channel = (name: string | symbol): Channel => {
    const known = channels.get(name) ?? new Channel(name);
    channels.set(name, known);
    return known;
  };
  type Traced = (...values: readonly unknown[]) => unknown;
  const pass = (traced: Traced, _context: unknown, self?: unknown, ...values: unknown[]): unknown =>
    Reflect.apply(traced, self, values);
  return {
    Channel,
    channel,
    hasSubscribers: (name: string | symbol) => channels.get(name)?.hasSubscribers ?? false,
    subscribe: (name: string | symbol, subscriber: Subscriber) => channel(name).subscribe(subscriber),
    unsubscribe: (name: string | symbol, subscriber: Subscriber) => channel(name).unsubscribe(subscriber),
    // Nobody traces in here: what is to be traced is called.
    tracingChannel: () => ({
      hasSubscribers: false,
      subscribe: () => undefined,
      unsubscribe: () => true,
      traceSync: pass,
      tracePromise: pass,
      traceCallback: (
        traced: Traced,
        _position: number,
        _context: unknown,
        self?: unknown,
        ...values: unknown[]
      ) => Reflect.apply(traced, self, values),
    }),
  };
}
