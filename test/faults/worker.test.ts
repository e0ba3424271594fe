import { describeGroup } from './harness/describe-group.ts';
import { poisonGroup } from './rows/worker-poison.ts';
import { workerGroup } from './rows/worker.ts';

describeGroup(workerGroup);
describeGroup(poisonGroup);
