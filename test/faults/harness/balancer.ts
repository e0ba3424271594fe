import { createSender, type Sender } from './load.ts';
import type { Actor } from './stage.ts';

/** Spreads requests over several APIs, as a Service of a cluster does over its endpoints. */
export interface Balancer {
  readonly sender: Sender;
  add(api: Actor): void;
  /** It gets no more requests; those under way go on. */
  remove(api: Actor): void;
  /** Requests that wait for its answer. */
  pending(api: Actor): number;
}

export function createBalancer(hook: string): Balancer {
  const senders = new Map<Actor, Sender>();
  const waiting = new Map<Actor, number>();
  let live: readonly Actor[] = [];
  let turn = 0;
  return {
    sender: {
      async send(id) {
        const api = live[turn++ % live.length];
        const sender = api && senders.get(api);
        if (api === undefined || sender === undefined) throw new Error('the balancer has no API');
        waiting.set(api, (waiting.get(api) ?? 0) + 1);
        try {
          return await sender.send(id);
        } finally {
          waiting.set(api, (waiting.get(api) ?? 0) - 1);
        }
      },
      async close() {
        for (const sender of senders.values()) await sender.close();
      },
    },
    add(api) {
      senders.set(api, createSender({ origin: `http://127.0.0.1:${api.port}`, hook }));
      live = [...live, api];
    },
    remove(api) {
      live = live.filter((other) => other !== api);
    },
    pending: (api) => waiting.get(api) ?? 0,
  };
}
