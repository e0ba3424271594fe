import { cpuMsOfTree } from '../../platform/proc.ts';
import type { SandboxUsage } from '../../platform/sandboxes.ts';
import type { Measure } from '../measure.ts';
import { withCodeInstallation } from './installation.ts';

/** What a spare costs: to make it, and to keep it. */
export const sandboxSpare: Measure = {
  name: 'sandbox-spare',
  title: 'warmed spares',
  run: (context) =>
    withCodeInstallation(
      context,
      { driver: 'gvisor', spares: { javascript: 2, python: 2 } },
      async (installation) => {
        await installation.startWarmWorker();
        const usages = await installation.sandboxes.list();
        const javascript = usages.filter(({ runtime }) => runtime === 'javascript');
        const python = usages.filter(({ runtime }) => runtime === 'python');
        if (javascript.length !== 2 || python.length !== 2)
          throw new Error(`2 spares of each runtime were to be there, ${usages.length} are in all`);
        return {
          spareMemoryMb: meanOf(javascript, ({ memoryBytes }) => memoryBytes) / 1e6,
          sparePythonMemoryMb: meanOf(python, ({ memoryBytes }) => memoryBytes) / 1e6,
          spareCpuMs: await cpuOf(javascript),
          sparePythonCpuMs: await cpuOf(python),
        };
      },
    ),
};

/** Of its cgroup, and of the runsc that waits for it outside. */
async function cpuOf(usages: readonly SandboxUsage[]): Promise<number> {
  const outside = await Promise.all(usages.map(({ runscPid }) => cpuMsOfTree(runscPid)));
  return meanOf(usages, ({ cpuMs }) => cpuMs) + outside.reduce((sum, ms) => sum + ms, 0) / usages.length;
}

const meanOf = (usages: readonly SandboxUsage[], pick: (usage: SandboxUsage) => number): number =>
  usages.reduce((sum, usage) => sum + pick(usage), 0) / usages.length;
