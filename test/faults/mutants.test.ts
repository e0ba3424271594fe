import { describe, expect, test } from 'vitest';
import { MUTANTS, runMutant } from './mutants.ts';

describe('a platform without', () => {
  test.each(MUTANTS.filter(({ isSlow }) => isSlow !== true))(
    '$without fails row $row',
    async (mutant) => {
      const failure = await runMutant(mutant);
      expect(failure?.message).toMatch(mutant.noticedBy);
      console.log(`${mutant.row} without ${mutant.without}: ${failure?.message.split('\n')[0]}`);
    },
    180_000,
  );
});
