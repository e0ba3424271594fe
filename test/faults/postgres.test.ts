import { describeGroup } from './harness/describe-group.ts';
import { postgresGroup } from './rows/postgres.ts';

describeGroup(postgresGroup);
