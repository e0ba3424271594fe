import type { FaultGroup } from '../harness/row.ts';
import { crashRows } from './api-crashes.ts';
import { pressureRows } from './api-pressure.ts';
import { requestRows } from './api-requests.ts';
import { rollingRows } from './api-rolling.ts';

/** What happens to the API itself, and to the requests that reach it. */
export const apiGroup: FaultGroup = {
  name: 'API',
  stage: { workers: 2 },
  rows: [...crashRows, ...requestRows, ...pressureRows, ...rollingRows],
};
