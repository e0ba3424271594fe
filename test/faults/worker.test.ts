import { describeGroup } from './harness/describe-group.ts';
import { poisonGroup } from './rows/worker-poison.ts';
import { sandboxGroup } from './rows/worker-sandboxes.ts';
import { workerGroup } from './rows/worker.ts';

describeGroup(workerGroup);
describeGroup(poisonGroup);
describeGroup(sandboxGroup);
