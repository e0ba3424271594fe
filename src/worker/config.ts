import type { ConfigOf } from '../core/config/key.ts';
import type { workerKeys } from '../core/config/worker-keys.ts';

export type WorkerConfig = ConfigOf<typeof workerKeys>;
