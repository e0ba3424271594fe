import { describeGroup } from './harness/describe-group.ts';
import { diskGroup, postgresGroup } from './rows/postgres.ts';
import { replicationGroup } from './rows/replication.ts';

describeGroup(postgresGroup);
describeGroup(replicationGroup);
describeGroup(diskGroup);
