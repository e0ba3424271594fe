import { describeGroup } from './harness/describe-group.ts';
import { loadGroup } from './rows/load.ts';

describeGroup(loadGroup);
