import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { sandboxProcesses, type SandboxProcess } from '../../support/sandbox-remains.ts';
import { waitFor } from '../../support/wait-for.ts';
import { callersOf } from './callers.ts';
import type { Actor, Stage } from './stage.ts';

/** A worker with gVisor and no sandboxes in reserve: those that are there run steps. */
export interface SandboxWorker {
  readonly actor: Actor;
  readonly sandboxes: () => Promise<readonly SandboxProcess[]>;
}

export async function startSandboxWorker(
  stage: Stage,
  env: Readonly<Record<string, string>> = {},
): Promise<SandboxWorker> {
  const stateDirectory = await mkdtemp(join(stage.directory, 'sandboxes-'));
  const actor = await stage.startWorker({
    env: {
      SANDBOX_DRIVER: 'gvisor',
      SANDBOX_STATE_DIR: stateDirectory,
      SANDBOX_SPARES_JAVASCRIPT: '0',
      SANDBOX_SPARES_PYTHON: '0',
      ...env,
    },
  });
  return { actor, sandboxes: () => sandboxProcesses(stateDirectory) };
}

/** The worker whose request waits at a path, once its sandbox is seen. */
export async function holderOf(
  stage: Stage,
  workers: readonly SandboxWorker[],
  path: RegExp,
): Promise<SandboxWorker> {
  const [caller] = await callersOf(stage, path);
  const holder = workers.find(({ actor }) => actor === caller);
  assert.ok(holder !== undefined, 'no worker was found at work');
  await waitFor(async () => (await holder.sandboxes()).length > 0, { what: 'its sandbox to be seen' });
  return holder;
}

/** Waits until nothing is left of its sandboxes. */
export const sandboxesGone = (worker: SandboxWorker, timeoutMs: number): Promise<true> =>
  waitFor(async () => (await worker.sandboxes()).length === 0, {
    timeoutMs,
    what: 'the sandboxes to end',
  });

/**
 * A step that heeds no signal: it goes on until the ledger answers at `/slow`, or its sandbox ends.
 */
export const STUBBORN = `
export default async (ctx, { url }) => {
  let isAnswered = false;
  const headers = { 'idempotency-key': ctx.idempotencyKey };
  ctx.fetch(url + '/slow', { method: 'POST', headers }).then(() => (isAnswered = true), () => {});
  while (!isAnswered) await new Promise((resolve) => setTimeout(resolve, 20));
  return 'answered';
};
`;

/** Its step, and what has to be beside it. */
export const stubbornStep = (url: string, id: string, keys = ''): string =>
  `  - { id: ${id}, code: steps/stubborn.js, egress: ["${new URL(url).host}"], input: { url: "${url}" }${keys === '' ? '' : `, ${keys}`} }`;
export const STUBBORN_FILES = { 'steps/stubborn.js': STUBBORN } as const;
