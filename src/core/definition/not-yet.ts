import type { RefusedKeys } from './fields.ts';

/**
 * The words of the workflow language that this release does not build, by place, each with what to do meanwhile.
 * They are refused as `not_supported` when a workflow is saved, so that nothing is ever silently ignored.
 */
const notYet = (fixes: Readonly<Record<string, string>>): RefusedKeys =>
  Object.fromEntries(
    Object.entries(fixes).map(([key, fix]) => [
      key,
      { code: 'not_supported', message: `\`${key}\` is not supported by this release`, fix },
    ]),
  );

export const KINDS_NOT_YET: RefusedKeys = notYet({
  approval: 'remove the step, or `wait` for a fixed time',
  workflow: 'copy the steps of that workflow into this one, or call its webhook from an `http` step',
  emit: 'call the webhook of the receiving workflow from an `http` step',
  llm: 'call the API of the model from an `http` step',
});

export const STEP_KEYS_NOT_YET: RefusedKeys = {
  ...KINDS_NOT_YET,
  ...notYet({
    onFailure: 'add a step with `needs: [{ step: <this one>, when: always }]` and an `if` on its state',
  }),
};

export const TRIGGERS_NOT_YET: RefusedKeys = notYet({
  schedule: 'use a `webhook` or `manual` trigger and start it from your own scheduler',
  event: 'use a `webhook` trigger and post the event to it',
  workflow: 'end the other workflow with an `http` step that posts to a `webhook` trigger of this one',
});

export const WEBHOOK_KEYS_NOT_YET: RefusedKeys = notYet({
  path: 'remove it and use the URL that saving the workflow returns',
});

export const WORKFLOW_KEYS_NOT_YET: RefusedKeys = notYet({
  concurrency: 'remove it; executions of a workflow run side by side',
  onFailure: 'add a step with `needs: [{ step: …, when: always }]` and an `if` on its state',
  finally: 'add a last step with `needs: [{ step: …, when: always }]`',
  priority: 'remove it; the oldest due execution of a tenant comes first',
  tags: 'remove it, or say it in `description`',
  defaults: 'write `retry` and `timeout` on the steps',
  parallelism: 'remove it; steps that are ready run side by side. `parallelism` of a `forEach` is supported',
});
