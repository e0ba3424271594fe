import { formatMemory } from '../../core/definition/quantities.ts';
import type { SandboxNeeds } from '../../core/definition/types.ts';
import { terminalError } from '../../core/step-error.ts';
import type { SandboxRules } from '../../core/tenants/sandbox-rules.ts';
import type { SandboxLimits } from '../sandbox/driver.ts';

/**
 * What the sandbox of a step may use: what its `resources` say, which were within the tenant's maxima when the workflow was
 * saved, else what is usual on this worker, as far as the tenant may have that.
 *
 * @throws StepError `resource_limit`, final, when a maximum has been lowered below what the step asks for
 */
export function sandboxLimits(
  needs: Pick<SandboxNeeds, 'memoryBytes' | 'cpus'>,
  usual: SandboxLimits,
  { maxMemoryBytes = Infinity, maxCpus = Infinity }: SandboxRules,
): SandboxLimits {
  const { memoryBytes = Math.min(usual.memoryBytes, maxMemoryBytes), cpus = Math.min(usual.cpus, maxCpus) } =
    needs;
  if (memoryBytes > maxMemoryBytes) {
    throw tooMuch('memory', formatMemory(memoryBytes), formatMemory(maxMemoryBytes));
  }
  if (cpus > maxCpus) throw tooMuch('cpu', String(cpus), String(maxCpus));
  return { memoryBytes, cpus, pids: usual.pids };
}

const tooMuch = (key: 'memory' | 'cpu', wanted: string, most: string) =>
  terminalError(
    'resource_limit',
    `The step asks for \`resources: { ${key}: ${wanted} }\`, and its tenant may have ${most} at most since that was ` +
      'lowered. Ask for less and save the workflow, or have the maximum raised by whoever runs this installation',
  );
