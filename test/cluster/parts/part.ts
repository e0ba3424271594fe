import type { Kubectl } from '../harness/kubectl.ts';
import type { Report } from '../harness/report.ts';
import type { ClusterContext } from '../setup.ts';

/** What every part of the tests works with. */
export interface Part {
  readonly cluster: ClusterContext;
  readonly kubectl: Kubectl;
  readonly report: Report;
  /** What takes minutes is left out (`npm run test:cluster -- --short`). */
  readonly isShort: boolean;
  /** What has to be built for a quarter of an hour is tested, too, where the cluster is the kit's (`-- --all`). */
  readonly isAll: boolean;
}
