import { randomBytes } from 'node:crypto';
import { createLoadingCache } from '../cache.ts';
import type { CredentialReader } from '../credentials/reader.ts';
import { secretValuesOf } from '../credentials/types.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import type { CompiledWebhookTrigger, CompiledWorkflow } from '../definition/types.ts';
import { AppError } from '../errors/app-error.ts';
import { createVerifier } from '../triggers/verify/verify.ts';
import { refused, type Verifier } from '../triggers/verify/types.ts';

/** An endpoint as it is now: whose it is, which version it starts, and how it judges requests. */
export interface LiveEndpoint {
  readonly id: string;
  readonly tenantId: string;
  readonly workflowId: string;
  readonly workflow: CompiledWorkflow;
  readonly version: number;
  readonly trigger: CompiledWebhookTrigger;
  readonly verify: Verifier;
}

export interface EndpointDirectory {
  /** Undefined: no such endpoint, or not now (workflow disabled or deleted, trigger removed). */
  find(endpointId: string): Promise<LiveEndpoint | undefined>;
  /** For changes made by this process, which are to be live at once; they are rare, so all are looked up anew. */
  forgetAll(): void;
}

export interface EndpointDirectoryDeps {
  /** Acts as millrace_ingest. */
  readonly db: Queryable;
  readonly credentials: CredentialReader;
  readonly loadWorkflow: (workflowId: string, version: number) => Promise<CompiledWorkflow | undefined>;
}

/** 160 random bits in lower-case hexadecimal: nobody guesses an endpoint, and no other spelling means one. */
export const makeEndpointId = (): string => randomBytes(20).toString('hex');
export const isEndpointId = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

/** With the age of a credential on top, a change is seen on every replica within 5 s (DESIGN section 3). */
const MAX_AGE_MS = 1000;
const MAX_ENTRIES = 5000;

export function createEndpointDirectory(deps: EndpointDirectoryDeps): EndpointDirectory {
  const cache = createLoadingCache<string, LiveEndpoint | undefined>({
    load: (id) => loadEndpoint(deps, id),
    maxEntries: MAX_ENTRIES,
    maxAgeMs: MAX_AGE_MS,
  });
  return { find: (endpointId) => cache.get(endpointId), forgetAll: () => cache.forget(() => true) };
}

async function loadEndpoint(deps: EndpointDirectoryDeps, id: string): Promise<LiveEndpoint | undefined> {
  const row = maybeOne(
    await deps.db.query<{
      tenant_id: string;
      workflow_id: string;
      trigger_name: string;
      current_version: number;
    }>({
      name: 'find-endpoint',
      text: `select e.tenant_id, e.workflow_id, e.trigger_name, w.current_version
        from endpoint e join workflow w on w.id = e.workflow_id
        where e.id = $1 and e.active and w.enabled and w.deleted_at is null`,
      values: [id],
    }),
  );
  if (row === undefined) return undefined;
  const workflow = await deps.loadWorkflow(row.workflow_id, row.current_version);
  const trigger = workflow?.triggers.find(({ name }) => name === row.trigger_name);
  if (workflow === undefined || trigger?.type !== 'webhook') return undefined;
  return {
    id,
    tenantId: row.tenant_id,
    workflowId: row.workflow_id,
    workflow,
    version: row.current_version,
    trigger,
    verify: await verifierOf(deps, row.tenant_id, trigger),
  };
}

/**
 * Without a usable secret every request is refused: never "no secret, no check" (SECURITY W12). One that ENCRYPTION_KEY does
 * not open is the platform's fault, and no sender is told 401 for it.
 */
async function verifierOf(
  deps: EndpointDirectoryDeps,
  tenantId: string,
  trigger: CompiledWebhookTrigger,
): Promise<Verifier> {
  const { verify } = trigger;
  if (verify.scheme === 'none') return createVerifier(verify, []);
  try {
    const credential = await deps.credentials.read(tenantId, verify.credential);
    if (credential === undefined) return () => refused(`credential ${verify.credential} does not exist`);
    if (credential.type !== 'secret') {
      return () => refused(`credential ${verify.credential} is not of type secret`);
    }
    return createVerifier(verify, secretValuesOf(credential));
  } catch (error) {
    if (error instanceof AppError && error.kind !== 'internal') return () => refused(error.message);
    throw error;
  }
}
