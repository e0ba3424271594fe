import { describeGroup } from './harness/describe-group.ts';
import { diskGroup, postgresGroup } from './rows/postgres.ts';
import { replicationGroup } from './rows/replication.ts';

describeGroup(postgresGroup);
describeGroup(replicationGroup);
// Only root may mount a disk that is small enough to fill up.
if (process.getuid?.() === 0) describeGroup(diskGroup);
