import { describeGroup } from './harness/describe-group.ts';
import { redisGroup } from './rows/redis.ts';

describeGroup(redisGroup);
