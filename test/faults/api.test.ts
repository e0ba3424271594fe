import { describeGroup } from './harness/describe-group.ts';
import { apiGroup } from './rows/api.ts';

describeGroup(apiGroup);
