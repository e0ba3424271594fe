import { afterAll, beforeAll, describe, test } from 'vitest';
import { runRow, type FaultGroup } from './row.ts';
import { startStage, type Stage } from './stage.ts';

/** Makes a test of each row of the group, one after the other, all on one stage. */
export function describeGroup(group: FaultGroup): void {
  describe(group.name, () => describeRows(group));
}

/** The same for several groups beside each other, each on its stage: for rows that mostly wait, and would take minutes in turn. */
export function describeBeside(groups: readonly FaultGroup[]): void {
  for (const group of groups) describe.concurrent(group.name, () => describeRows(group));
}

function describeRows(group: FaultGroup): void {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage(group.stage);
  }, 120_000);
  afterAll(() => stage.close(), 60_000);
  for (const row of group.rows) {
    test(`${row.id} ${row.fault}`, { concurrent: false, timeout: row.timeoutMs ?? 180_000 }, () =>
      runRow(row, stage),
    );
  }
}
