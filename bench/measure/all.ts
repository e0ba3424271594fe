import { accept } from './accept.ts';
import { depth, tenth } from './depth.ts';
import { hostile } from '../hostile.ts';
import { execute } from './execute.ts';
import { fairness } from './fairness.ts';
import { http, overhead } from './http.ts';
import { latency } from './latency.ts';
import { light } from './light.ts';
import { machine } from './machine.ts';
import type { Measure } from './measure.ts';
import { mixed } from './mixed.ts';
import { resume } from './resume.ts';
import { sandboxBacklog, sandboxLarge, sandboxSingle } from './sandbox/backlog.ts';
import { sandboxFirst, sandboxMiss } from './sandbox/first.ts';
import { sandboxLoad } from './sandbox/load.ts';
import { sandboxSpare } from './sandbox/spare.ts';
import { start } from './start.ts';
import { telemetryAccept, telemetryExecute, telemetryHttp } from './telemetry.ts';
import { workers } from './workers.ts';

/** In the order of a round; `latency` goes by what `accept` found. */
export const MEASURES: readonly Measure[] = [
  machine,
  accept,
  latency,
  mixed,
  execute,
  http,
  overhead,
  light,
  resume,
  start,
  sandboxLoad,
  sandboxBacklog,
  sandboxLarge,
  sandboxFirst,
  sandboxMiss,
  sandboxSpare,
  sandboxSingle,
];

/** Run only when they are asked for by name. */
export const ON_REQUEST: readonly Measure[] = [
  hostile,
  fairness,
  depth,
  tenth,
  workers,
  telemetryAccept,
  telemetryExecute,
  telemetryHttp,
];
