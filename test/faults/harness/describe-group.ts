import { afterAll, beforeAll, describe, test } from 'vitest';
import { runRow, type FaultGroup } from './row.ts';
import { startStage, type Stage } from './stage.ts';

/** Makes a test of each row of the group, all on one stage. */
export function describeGroup(group: FaultGroup): void {
  describe(group.name, () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await startStage(group.stage);
    }, 120_000);
    afterAll(() => stage.close(), 60_000);
    for (const row of group.rows) {
      test(`${row.id} ${row.fault}`, { timeout: row.timeoutMs ?? 180_000 }, () => runRow(row, stage));
    }
  });
}
