import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '../support/database.ts';
import {
  startAttackPlatform,
  type AttackPlatform,
  type AttackPlatformOptions,
  type AttackerTenant,
} from '../support/attack-platform.ts';
import { sandboxProcesses } from '../support/sandbox-remains.ts';
import { checkAttack, titleOf, type Attack } from './attacks/attack.ts';

export interface SecurityPlatform extends AttackPlatform {
  /** Of its own in each file. */
  readonly tenant: AttackerTenant;
  /** Runs it and looks at how it ended. */
  run(attack: Attack): Promise<void>;
}

/** A platform for a test file. There is no skipping: it fails where gVisor is missing. */
export async function startSecurityPlatform(
  options: Partial<AttackPlatformOptions> = {},
): Promise<SecurityPlatform> {
  const database = await createTestDatabase();
  const attacked = await startAttackPlatform({
    databaseUrl: database.url,
    redisPort: Number(new URL(inject('redisUrl')).port),
    ...options,
  });
  const tenant = await attacked.makeTenant('attacker');
  const stop = async (): Promise<readonly string[]> => {
    const remains = await attacked.stop();
    await database.drop();
    return remains;
  };
  let stopped: Promise<readonly string[]> | undefined;
  return {
    ...attacked,
    tenant,
    run: async (attack) => checkAttack(attack, await attacked.attack(attack, tenant)),
    stop: () => (stopped ??= stop()),
  };
}

/** One test for each; those that use up the machine one after the other, the rest some at a time. */
export function testAttacks(
  platform: () => SecurityPlatform,
  attacks: readonly Attack[],
  timeoutMs = 180_000,
): void {
  const named = attacks.map((attack) => [titleOf(attack), attack] as const);
  test.concurrent.each(named.filter(([, { heavy }]) => heavy !== true))(
    '%s',
    (_, attack) => platform().run(attack),
    timeoutMs,
  );
  test.each(named.filter(([, { heavy }]) => heavy === true))(
    '%s',
    (_, attack) => platform().run(attack),
    timeoutMs,
  );
}

/** The last tests of a file: what the attacks found out, and what they left. */
export function testAftermath(platform: () => SecurityPlatform): void {
  test('nothing was heard where nobody may call, and no canary is in any answer, record, log, metric or request', async () => {
    expect(platform().listener.heard).toEqual([]);
    expect(await platform().findCanaries()).toEqual([]);
  }, 120_000);

  test('no process, mount, cgroup or file of a sandbox is left when the worker has stopped', async () => {
    expect(await platform().stop()).toEqual([]);
  }, 60_000);
}

const run = promisify(execFile);

/** What isolates, by its own account and from outside: version, platform and the command lines of its processes. */
export async function describeGvisor({ stateDirectory }: AttackPlatform): Promise<{
  readonly version: string;
  readonly platforms: readonly string[];
}> {
  const processes = await sandboxProcesses(stateDirectory);
  const runsc = processes.map(({ command }) => command.find((part) => part.endsWith('runsc'))).find(Boolean);
  if (runsc === undefined) throw new Error('no process of runsc runs for this worker');
  const { stdout } = await run(runsc, ['--version']);
  const flags = processes.flatMap(({ command }) => command.filter((part) => part.startsWith('--platform')));
  return { version: stdout.trim().split('\n').join(', '), platforms: [...new Set(flags)] };
}
