import type { RequestHandler } from 'express';
import type { Logger } from 'pino';
import type { Bundler } from '../core/bundle/bundler.ts';
import type { CredentialCipher } from '../core/credentials/cipher.ts';
import type { Database } from '../core/db/database.ts';
import type { DatabaseClock } from '../core/db/clock.ts';
import type { MaxResources } from '../core/definition/steps/kind.ts';
import type { WatchExecution } from '../core/executions/watch.ts';
import type { HintPublisher } from '../core/hints/types.ts';
import type { AdminHandler } from '../core/telemetry/admin-handler.ts';
import type { Tracing } from '../core/telemetry/tracing.ts';

/** What of the configuration the API reads. */
export interface ApiSettings {
  /** Where callers reach the API, without a trailing slash. */
  readonly publicUrl: string;
  /** Where webhook senders reach it; the URLs of endpoints begin with it. */
  readonly publicHooksUrl: string;
  readonly corsAllowedOrigins: readonly string[];
  readonly replayEnabled: boolean;
  /** Signs cursors. */
  readonly jwtSecret: string;
  readonly limits: ApiLimits;
}

export interface ApiLimits {
  /** Of a request body, inflated. */
  readonly maxBodyBytes: number;
  /** Event streams and followed logs at once, of one process. */
  readonly maxStreams: number;
  /** MAX_WORKFLOW_EXECUTION_TIME, in seconds. */
  readonly maxExecutionTimeS: number;
  /** Of sandboxes, for tenants without a maximum of their own; undefined: none. */
  readonly maxResources?: MaxResources | undefined;
}

export const DEFAULT_API_LIMITS = {
  maxBodyBytes: 1024 * 1024,
  maxStreams: 500,
} as const;

/** A finished HTTP exchange, for metrics. */
export interface RequestObservation {
  /** The operation's path template, `/hooks`, or `other`: a closed set. */
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly durationMs: number;
  /** Of a trace that is recorded. */
  readonly traceId?: string | undefined;
}

export interface ApiDeps {
  /** Acts as millrace_api. */
  readonly db: Database;
  readonly clock: Pick<DatabaseClock, 'now'>;
  readonly logger: Logger;
  readonly settings: ApiSettings;
  readonly cipher: CredentialCipher;
  /** Makes programs of the files of a workflow that is saved. */
  readonly bundler: Bundler;
  readonly hints: Pick<HintPublisher, 'publish'>;
  readonly watchExecution: WatchExecution;
  /** Called after a commit that changed a workflow or its endpoints, so that caches of this process forget it. */
  readonly invalidateWorkflow: (workflowId: string) => void;
  /** Called after a commit that changed a credential. */
  readonly invalidateCredential: (tenantId: string, name: string) => void;
  /** Aborted when the process drains: streams and waits end then. */
  readonly stopping: AbortSignal;
  /** Serves /hooks. */
  readonly hooks: RequestHandler;
  /** Serves /health and /metrics, where they share the API's port. */
  readonly admin?: AdminHandler;
  readonly onRequest?: (observation: RequestObservation) => void;
  readonly tracing?: Tracing | undefined;
}
