import { setTimeout as delay } from 'node:timers/promises';
import { openDatabase, type Database } from '../../src/core/db/database.ts';
import { createIngest } from '../../src/core/deliveries/ingest.ts';
import { queueDepth } from '../../src/core/executions/claims.ts';
import type { Owner } from '../../test/support/executions.ts';
import { sampleDelivery, type SampleRequest } from '../../test/support/history.ts';
import type { Installation } from '../platform/installation.ts';

// What an API asks of PostgreSQL, without the process: the looks that it takes at the queue every few seconds would fall
// on whichever of several databases is measured just then, so they are measured by themselves.

const ACCEPT_MS = 2000;
const ACCEPT_WARM_UP_MS = 500;
const CALLERS = 50;
const LOOKS = 10;
/** As `MAX_BACKLOG` is by default. */
const LOOK_CAP = 2_000_000;
/** One more look of the sampler. */
const SAMPLED_AFTER_MS = 300;

export interface AcceptCell {
  readonly acceptsPerSecond: number;
  /** Of PostgreSQL, for each delivery. */
  readonly acceptCpuMs: number;
}

/** Deliveries as the API records them: many callers that share commits. */
export const measureAccepts = (
  installation: Installation,
  owners: readonly Owner[],
  request: SampleRequest,
): Promise<AcceptCell> =>
  withIngestDatabase(installation, async (db) => {
    const ingest = createIngest({ db });
    let sent = 0;
    const acceptFor = async (ms: number): Promise<void> => {
      const untilMs = Date.now() + ms;
      await Promise.all(
        Array.from({ length: CALLERS }, async () => {
          while (Date.now() < untilMs) {
            await ingest.add(sampleDelivery(owners[sent++ % owners.length]!, request)); // within the list
          }
        }),
      );
    };
    await acceptFor(ACCEPT_WARM_UP_MS);
    const before = sent;
    const fromMs = Date.now();
    await acceptFor(ACCEPT_MS);
    const toMs = Date.now();
    const accepted = sent - before;
    await delay(SAMPLED_AFTER_MS);
    return {
      acceptsPerSecond: (accepted / (toMs - fromMs)) * 1000,
      acceptCpuMs: installation.sampler.cpuMs('postgres', fromMs, toMs) / accepted,
    };
  });

/** @returns CPU milliseconds of PostgreSQL for counting the queue once, as each API does to know whether to shed */
export const measureLook = (installation: Installation): Promise<number> =>
  withIngestDatabase(installation, async (db) => {
    const fromMs = Date.now();
    for (let n = 0; n < LOOKS; n++) await queueDepth(db, LOOK_CAP);
    const toMs = Date.now();
    await delay(SAMPLED_AFTER_MS);
    return installation.sampler.cpuMs('postgres', fromMs, toMs) / LOOKS;
  });

async function withIngestDatabase<T>(
  { db: { user, password, host, port, database } }: Installation,
  work: (db: Database) => Promise<T>,
): Promise<T> {
  const db = openDatabase({
    url: `postgres://${user}:${password}@${host}:${port}/${database}`,
    role: 'millrace_ingest',
    name: 'millrace bench ingest',
    maxConnections: 4,
    queryTimeoutMs: 10_000,
    acquireTimeoutMs: 5000,
    lookUpsOnly: true,
    onError: () => undefined, // whoever uses it hears of it
  });
  try {
    return await work(db);
  } finally {
    await db.end();
  }
}
