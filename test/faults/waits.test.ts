import { describeBeside } from './harness/describe-group.ts';
import { absenceGroup } from './rows/redis-absent.ts';
import { stallGroup } from './rows/worker-stalls.ts';

describeBeside([absenceGroup, stallGroup]);
