import { isRecord } from '../json.ts';
import { MAX_STEPS } from './document.ts';
import type { Path } from './findings.ts';
import { ancestorsOf, type GraphNode } from './graph.ts';
import { isIdentifier } from './names.ts';
import { STEP_KINDS, type StepKind } from './types.ts';

/**
 * What can be read of a document that may be wrong in places, so that the checks of validate.ts say all they can about the
 * rest. Nothing here reports a problem.
 */
export interface Outline {
  readonly root: Readonly<Record<string, unknown>>;
  readonly triggers: readonly OutlinedTrigger[];
  readonly steps: readonly OutlinedStep[];
  /** The first step of each id. */
  readonly stepById: ReadonlyMap<string, OutlinedStep>;
  /** Ids of the steps that have ended before this one starts. */
  readonly ancestors: (step: OutlinedStep) => ReadonlySet<string>;
}

export interface OutlinedTrigger {
  readonly path: Path;
  readonly raw: unknown;
}

export interface OutlinedStep extends GraphNode {
  readonly path: Path;
  readonly raw: Readonly<Record<string, unknown>>;
  /** Undefined when there is none, or several. */
  readonly kind: StepKind | undefined;
  readonly needEntries: readonly NeedEntry[];
}

export interface NeedEntry {
  readonly path: Path;
  readonly id: string;
}

export function outlineOf(document: unknown): Outline {
  const root = isRecord(document) ? document : {};
  const steps = (Array.isArray(root.steps) ? root.steps.slice(0, MAX_STEPS) : []).flatMap(outlineStep);
  const stepById = new Map(steps.toReversed().map((step) => [step.id, step]));
  const needsOf = new Map(steps.map(({ id, needs }) => [id, needs]));
  const ancestors = new Map<string, ReadonlySet<string>>();
  const triggers = Object.entries(isRecord(root.triggers) ? root.triggers : {});
  return {
    root,
    triggers: triggers.map(([name, raw]) => ({ path: ['triggers', name], raw })),
    steps,
    stepById,
    ancestors: ({ id }) => {
      const found = ancestors.get(id) ?? ancestorsOf(id, needsOf);
      ancestors.set(id, found);
      return found;
    },
  };
}

function outlineStep(raw: unknown, index: number): readonly OutlinedStep[] {
  if (!isRecord(raw)) return [];
  const path = ['steps', index];
  const kinds = STEP_KINDS.filter((kind) => Object.hasOwn(raw, kind));
  const entries = (Array.isArray(raw.needs) ? raw.needs.slice(0, MAX_STEPS) : []).flatMap(
    (need: unknown, position): readonly NeedEntry[] => {
      if (typeof need === 'string')
        return isIdentifier(need) ? [{ path: [...path, 'needs', position], id: need }] : [];
      const id = isRecord(need) ? need.step : undefined;
      return typeof id === 'string' && isIdentifier(id)
        ? [{ path: [...path, 'needs', position, 'step'], id }]
        : [];
    },
  );
  return [
    {
      id: typeof raw.id === 'string' ? raw.id : '',
      needs: entries.map(({ id }) => id),
      path,
      raw,
      kind: kinds.length === 1 ? kinds[0] : undefined,
      needEntries: entries,
    },
  ];
}
