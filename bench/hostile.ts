// `npm run bench -- --only hostile`: 1,000 hostile steps among 1,000 good ones, over 50 tenants (SECURITY.md X23).
import { randomInt } from 'node:crypto';
import { MIXED_ATTACKS } from '../test/security/attacks/all.ts';
import { startAttackPlatform } from '../test/support/attack-platform.ts';
import { runHostileMix } from '../test/support/hostile-mix.ts';
import type { Measure } from './measure/measure.ts';

const STEPS = 1000;
const TENANTS = 50;
const AT_ONCE = 8;
const BUDGET_BYTES = 8 * 1024 ** 3;
/** No figure: it passes, or it says what happened that must not. How long good steps took is told, for people to judge. */
export const hostile: Measure = {
  name: 'hostile',
  title: `${STEPS} hostile steps among ${STEPS} good ones over ${TENANTS} tenants`,
  async run({ services, say }) {
    const database = await services.createDatabase();
    const seed = randomInt(2 ** 31);
    say(`seed ${seed}`);
    const place = await startAttackPlatform({
      databaseUrl: database.url,
      redisPort: Number(new URL(services.redisUrl).port),
      env: { SANDBOX_MEMORY_BUDGET_BYTES: String(BUDGET_BYTES) },
    });
    const problems: string[] = [];
    try {
      const mix = { tenants: TENANTS, steps: STEPS, atOnce: AT_ONCE, seed, attacks: MIXED_ATTACKS, say };
      const { failures, surprises, endings, aloneP95Ms, mixedP95Ms } = await runHostileMix(place, mix);
      for (const [name, count] of endings) say(`${name}: ${count}`);
      say(`p95 of good steps: ${aloneP95Ms} ms alone, ${mixedP95Ms} ms among hostile ones`);
      problems.push(...failures, ...surprises, ...place.listener.heard, ...(await place.findCanaries()));
    } finally {
      problems.push(...(await place.stop()));
      await services.dropDatabase(database.name);
    }
    if (problems.length > 0)
      throw new Error(`seed ${seed}: ${problems.length} problems\n${problems.join('\n')}`);
    return {};
  },
};
