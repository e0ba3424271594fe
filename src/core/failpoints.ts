/**
 * Places where a test may end a process, to show what survives it (docs/guarantees.md). They are always compiled in, do
 * nothing unless `MILLRACE_FAILPOINTS` names them, and are refused in production.
 */
export const FAILPOINTS = {
  'ingest.before-commit': 'deliveries are about to be written',
  'hooks.before-hint': 'a delivery is committed; nobody was told',
  'hooks.before-answer': 'a delivery is committed and its hint handed over; the sender waits',
  'worker.before-claim': 'a hint was taken; nothing is claimed',
  'worker.after-claim': 'executions were claimed; nothing of them has run',
  'journal.after-write': 'outcomes are committed; the engine has not heard of it',
} as const;

export type FailpointName = keyof typeof FAILPOINTS;

/** Called where its name says. */
export type PassFailpoint = (name: FailpointName) => void;

/** At which passage, counted from 1, the process kills itself. */
export type FailpointPlan = ReadonlyMap<FailpointName, number>;

const ENTRY = /^([a-z.-]+)(?:@([1-9]\d{0,8}))?$/;

/**
 * @param text names with the passage that is meant, such as `journal.after-write@30, hooks.before-hint`; without one it is
 *   the first
 * @throws Error naming what is wrong and what is allowed
 */
export function parseFailpoints(text: string): FailpointPlan {
  const plan = new Map<FailpointName, number>();
  for (const part of text.split(',').map((one) => one.trim())) {
    if (part === '') continue;
    const [, name = '', passage = '1'] = ENTRY.exec(part) ?? [];
    if (!isFailpoint(name)) {
      throw new Error(
        `names ${JSON.stringify(part)}; allowed are ${Object.keys(FAILPOINTS).join(', ')}, each with @n`,
      );
    }
    plan.set(name, Number(passage));
  }
  return plan;
}

const isFailpoint = (name: string): name is FailpointName => Object.hasOwn(FAILPOINTS, name);

/** Counts passages; at the one that was planned the process ends as by `kill -9`. */
export function createFailpoints(
  plan: FailpointPlan,
  kill: () => void = () => process.kill(process.pid, 'SIGKILL'),
): PassFailpoint {
  if (plan.size === 0) return () => {};
  const passages = new Map<FailpointName, number>();
  return (name) => {
    const count = (passages.get(name) ?? 0) + 1;
    passages.set(name, count);
    if (plan.get(name) === count) kill();
  };
}
