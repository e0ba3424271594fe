import { createTopNames, type Standing, type TopNames } from './top-names.ts';

/** What counts for a name that is not among the most active. */
export const OTHER = 'other';

export interface WorkflowLabel {
  /** Its name, or `other`. */
  readonly tenant: string;
  readonly workflow: string;
}

/** Names of tenants and workflows as labels of metrics, so few that the number of series has a bound. */
export interface WorkflowLabels {
  /**
   * Counts one execution. The label may be kept for as long as the execution runs: it says `other` from the moment that
   * its series were ended.
   */
  note(tenant: string, workflow: string): WorkflowLabel;
}

export interface WorkflowLabelsOptions {
  readonly maxTenants?: number;
  readonly maxWorkflowsPerTenant?: number;
  /** Of all tenants together. */
  readonly maxWorkflows?: number;
  /** Ends the series of a label that is shown no more. */
  readonly onHidden: (label: WorkflowLabel) => void;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

const SETTLE_EVERY_MS = 60_000;
const HALF_LIFE_MS = 600_000;
const HIDDEN: Standing = { isShown: false };
const ALL_OTHERS: WorkflowLabel = { tenant: OTHER, workflow: OTHER };

export function createWorkflowLabels(options: WorkflowLabelsOptions): WorkflowLabels {
  const { maxTenants = 50, maxWorkflowsPerTenant = 200, maxWorkflows = 2000, onHidden } = options;
  const { now = () => performance.now() } = options;
  const workflowsOf = new Map<string, TopNames>();
  let shownWorkflows = 0;
  let settledAtMs = now();

  const createWorkflows = (tenant: string): TopNames =>
    createTopNames({
      limit: maxWorkflowsPerTenant,
      mayShow: () => shownWorkflows < maxWorkflows,
      onShown: () => void shownWorkflows++,
      onHidden: (workflow) => {
        shownWorkflows--;
        onHidden({ tenant, workflow });
      },
    });

  const tenants = createTopNames({
    limit: maxTenants,
    onShown: (tenant) => void workflowsOf.set(tenant, createWorkflows(tenant)),
    onHidden: (tenant) => {
      workflowsOf.get(tenant)?.hideAll();
      workflowsOf.delete(tenant);
      onHidden({ tenant, workflow: OTHER });
    },
  });

  const settle = (): void => {
    const passedMs = now() - settledAtMs;
    if (passedMs < SETTLE_EVERY_MS) return;
    settledAtMs += passedMs;
    const factor = 0.5 ** (passedMs / HALF_LIFE_MS);
    tenants.settle(factor);
    for (const workflows of workflowsOf.values()) workflows.settle(factor);
  };

  return {
    note(tenant, workflow) {
      settle();
      if (tenant === OTHER) return ALL_OTHERS;
      const ofTenant = tenants.note(tenant);
      const workflows = ofTenant.isShown ? workflowsOf.get(tenant) : undefined;
      if (workflows === undefined) return ALL_OTHERS;
      return labelOf(tenant, ofTenant, workflow, workflow === OTHER ? HIDDEN : workflows.note(workflow));
    },
  };
}

const labelOf = (
  tenant: string,
  ofTenant: Standing,
  workflow: string,
  ofWorkflow: Standing,
): WorkflowLabel => ({
  get tenant() {
    return ofTenant.isShown ? tenant : OTHER;
  },
  get workflow() {
    return ofTenant.isShown && ofWorkflow.isShown ? workflow : OTHER;
  },
});
