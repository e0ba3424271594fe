import { isRecord } from '../json.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { collectFindings, type Finding } from './findings.ts';
import { findCycles } from './graph.ts';
import type { Outline, OutlinedStep } from './outline.ts';
import { nearest } from './suggest.ts';

/** Checks of ids, of `needs` and of the keys that every kind of step takes. */
export function stepFindings(outline: Outline): readonly Finding[] {
  const ofSteps = collectFindings(outline.steps, (step) => [
    ...idFindings(step, outline),
    ...needFindings(step, outline),
    ...forEachFindings(step),
    ...retryFindings(step),
  ]);
  return [...ofSteps, ...cycleFindings(outline)];
}

function idFindings(step: OutlinedStep, { stepById }: Outline): readonly Finding[] {
  if (step.id === '' || stepById.get(step.id) === step) return [];
  return [
    {
      path: [...step.path, 'id'],
      code: 'duplicate_step',
      message: `there is another step with the id \`${step.id}\` before this one`,
      fix: `rename this one, for example \`${step.id}-2\``,
    },
  ];
}

function needFindings(step: OutlinedStep, { stepById }: Outline): readonly Finding[] {
  return step.needEntries.flatMap(({ id, path }, position): readonly Finding[] => {
    if (id === step.id) {
      return [{ path, code: 'cycle', message: `the step \`${id}\` needs itself`, fix: 'remove this entry' }];
    }
    if (!stepById.has(id)) return [unknownStep(id, stepById.keys(), path)];
    if (step.needs.indexOf(id) === position) return [];
    return [{ path, code: 'conflict', message: `\`${id}\` is listed twice`, fix: 'keep one of them' }];
  });
}

export function unknownStep(id: string, known: Iterable<string>, path: Finding['path']): Finding {
  const near = nearest(id, known);
  return {
    path,
    code: 'unknown_step',
    message: `there is no step \`${id}\``,
    fix: near === undefined ? 'write the id of a step of this workflow' : `did you mean \`${near}\`?`,
  };
}

function cycleFindings({ steps, stepById }: Outline): readonly Finding[] {
  const nodes = [...stepById.values()].map(({ id, needs }) => ({
    id,
    needs: needs.filter((need) => need !== id),
  }));
  return findCycles(nodes).map((cycle) => {
    // Reported where the first of them stands in the document.
    const first = steps.find(({ id }) => cycle.includes(id));
    const start = cycle.indexOf(first?.id ?? '');
    const inOrder = [...cycle.slice(start), ...cycle.slice(0, start)];
    return {
      path: [...(first?.path ?? []), 'needs'],
      at: 'key',
      code: 'cycle',
      message: `these steps need each other in a circle: ${[...inOrder, inOrder[0]].join(' → ')}`,
      fix: 'remove one of these needs',
    };
  });
}

function forEachFindings({ path, raw, kind }: OutlinedStep): readonly Finding[] {
  const has = Object.hasOwn(raw, 'forEach');
  if (!has && Object.hasOwn(raw, 'parallelism')) {
    return [
      {
        path: [...path, 'parallelism'],
        at: 'key',
        code: 'no_effect',
        message: '`parallelism` has no effect without `forEach`',
        fix: 'add `forEach`, or remove it',
      },
    ];
  }
  if (!has || kind !== 'respond') return [];
  return [
    {
      path: [...path, 'forEach'],
      at: 'key',
      code: 'conflict',
      message: 'a `respond` step answers once, so it takes no `forEach`',
      fix: 'gather the list in an earlier step and respond with `steps.<id>.output`',
    },
  ];
}

function retryFindings({ path, raw }: OutlinedStep): readonly Finding[] {
  if (!isRecord(raw.retry)) return [];
  const { attempts, backoff, initial, max } = raw.retry;
  const below = [...path, 'retry'];
  const findings: Finding[] = [];
  if (raw.atMostOnce === true && attempts !== 1) {
    findings.push({
      path: below,
      at: 'key',
      code: 'conflict',
      message: 'a step that is `atMostOnce` is never tried again, so `retry` has no effect',
      fix: 'remove `retry`, or `atMostOnce`',
    });
  }
  for (const key of ['initial', 'max'] as const) {
    if (!Object.hasOwn(raw.retry, key)) continue;
    if (!Array.isArray(backoff) && (backoff !== 'fixed' || key === 'initial')) continue;
    findings.push({
      path: [...below, key],
      at: 'key',
      code: 'no_effect',
      message: `\`${key}\` has no effect with ${Array.isArray(backoff) ? 'a list of delays' : '`backoff: fixed`'}`,
      fix: 'remove it, or write `backoff: exponential`',
    });
  }
  const [from, to] = [initial, max].map((text) =>
    typeof text === 'string' ? parseDuration(text) : undefined,
  );
  if (from !== undefined && to !== undefined && from > to) {
    findings.push({
      path: [...below, 'initial'],
      code: 'conflict',
      message: `\`initial\` is longer than \`max\` (${formatDuration(to)})`,
      fix: 'make it shorter, or raise `max`',
    });
  }
  return findings;
}
