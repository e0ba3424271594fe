import type { InstallationOptions, Start } from '../platform/installation.ts';
import type { Services } from '../platform/services.ts';
import type { FigureName } from '../targets.ts';

export type Figures = Readonly<Partial<Record<FigureName, number>>>;

export interface MeasureContext {
  readonly services: Services;
  /** Of each measured phase. */
  readonly seconds: number;
  /** The median of a figure over the runs so far. */
  readonly soFar: (name: FigureName) => number | undefined;
  /** For every installation. */
  readonly installation: InstallationOptions;
  readonly say: (message: string) => void;
}

/** One measurement: on an installation of its own, once. @throws when anything is not as it has to be */
export interface Measure {
  readonly name: string;
  readonly title: string;
  run(context: MeasureContext): Promise<Figures>;
}

/** What starting cost, as figures of whatever was measured afterwards. */
export const startFigures = (api: Start, worker?: Start): Figures => ({
  apiStartMs: api.ms,
  apiReadyMemoryMb: api.mb,
  ...(worker === undefined ? {} : { workerStartMs: worker.ms, workerReadyMemoryMb: worker.mb }),
});
