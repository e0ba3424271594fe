import { buildPrograms, type BuildDeps, type BuiltProgram } from '../bundle/programs.ts';
import { readSourceFiles } from '../bundle/source-files.ts';
import type { CredentialCipher } from '../credentials/cipher.ts';
import { listCredentials, loadCredential } from '../credentials/store.ts';
import { secretValuesOf, type Credential, type CredentialType } from '../credentials/types.ts';
import { withTenant, type Database } from '../db/database.ts';
import type { WorkflowDocument } from '../definition/document.ts';
import { formatDuration, parseDuration, SECOND_MS } from '../definition/duration.ts';
import { filesOf } from '../definition/files.ts';
import { formatPath, type Path } from '../definition/findings.ts';
import { parseWorkflow } from '../definition/parse.ts';
import type { MaxResources } from '../definition/steps/kind.ts';
import { readYaml } from '../definition/yaml-source.ts';
import { AppError, type Problem } from '../errors/app-error.ts';
import type { JsonObject } from '../json.ts';
import { getSandboxRules } from '../tenants/sandbox-rules.ts';
import { verifySchema, type VerifyConfig } from '../triggers/verify/schemas.ts';
import { createVerifier } from '../triggers/verify/verify.ts';

/** What a deployment is checked against, beside the language itself. */
export interface CheckDeps extends BuildDeps {
  readonly db: Database;
  readonly cipher: CredentialCipher;
  /** The longest `timeout` of an execution. */
  readonly maxExecutionTimeS: number;
  /** What sandboxes may have at most, of tenants that have no maximum of their own. */
  readonly maxResources?: MaxResources | undefined;
}

export type CheckedWorkflow =
  | {
      readonly ok: true;
      readonly document: WorkflowDocument;
      /** By the step's file. */
      readonly programs: ReadonlyMap<string, BuiltProgram>;
      readonly warnings: readonly Problem[];
    }
  | {
      readonly ok: false;
      readonly problems: readonly Problem[];
      /** When all that is wrong is that these do not exist; else empty. */
      readonly missingCredentials: readonly string[];
    };

/** Finds all that keeps a workflow from being saved: in its text, its files, and the credentials it names. */
export async function checkWorkflow(
  deps: CheckDeps,
  tenantId: string,
  source: string,
  files: JsonObject,
): Promise<CheckedWorkflow> {
  const known = await factsOf(deps, tenantId);
  const missing = new Set<string>();
  const read = readSourceFiles(files);
  const parsed = parseWorkflow(source, {
    hasCredential: (name) => {
      if (!known.credentials.has(name)) missing.add(name);
      return known.credentials.has(name);
    },
    credentialType: (name) => known.credentials.get(name),
    files: new Set(Object.keys(files)),
    maxResources: known.maxResources,
  });
  // Of a document with problems, too: all that is wrong is told at once.
  const uses = filesOf(parsed.ok ? parsed.document : readYaml(source).source?.value);
  const built = await buildPrograms(deps, tenantId, uses, read.files);
  const fileProblems = [...read.problems, ...built.problems];
  if (!parsed.ok) {
    const problems = [...parsed.problems, ...fileProblems];
    const nothingElse = problems.every(({ code }) => code === 'unknown_credential');
    return { ok: false, problems, missingCredentials: nothingElse ? [...missing] : [] };
  }
  const { document } = parsed;
  const problems = [
    ...timeoutProblems(document, deps.maxExecutionTimeS),
    ...(await verifyProblems(deps, tenantId, document)),
  ];
  if (problems.length + fileProblems.length === 0) {
    const warnings = [...parsed.warnings, ...built.warnings];
    return { ok: true, document, programs: built.programs, warnings };
  }
  const placed = problems.map((problem) => place(problem, source));
  return { ok: false, problems: [...placed, ...fileProblems], missingCredentials: [] };
}

interface TenantFacts {
  readonly credentials: ReadonlyMap<string, CredentialType>;
  readonly maxResources: MaxResources;
}

const factsOf = ({ db, maxResources }: CheckDeps, tenantId: string): Promise<TenantFacts> =>
  withTenant(db, tenantId, async (client) => {
    const credentials = await listCredentials(client, tenantId);
    const own = await getSandboxRules(client, tenantId);
    return {
      credentials: new Map(credentials.map(({ name, type }) => [name, type])),
      maxResources: {
        cpus: own.maxCpus ?? maxResources?.cpus ?? Infinity,
        memoryBytes: own.maxMemoryBytes ?? maxResources?.memoryBytes ?? Infinity,
      },
    };
  });

type Unplaced = Omit<Problem, 'path'> & { readonly path: Path };

function place({ path, ...problem }: Unplaced, source: string): Problem {
  const position = readYaml(source).source?.locate({ path, at: 'value' });
  return { path: formatPath(path), ...position, ...problem };
}

function timeoutProblems(document: WorkflowDocument, maxExecutionTimeS: number): readonly Unplaced[] {
  const timeoutMs = document.timeout === undefined ? undefined : parseDuration(document.timeout);
  const maxMs = maxExecutionTimeS * SECOND_MS;
  if (timeoutMs === undefined || timeoutMs <= maxMs) return [];
  return [
    {
      path: ['timeout'],
      code: 'invalid_value',
      message: `\`timeout\` must be at most ${formatDuration(maxMs)} here, got ${document.timeout}`,
      fix: 'make it shorter, or raise MAX_WORKFLOW_EXECUTION_TIME',
    },
  ];
}

/** A webhook without a secret that its scheme can use would have to refuse every request: better not to save it. */
async function verifyProblems(
  { db, cipher }: CheckDeps,
  tenantId: string,
  document: WorkflowDocument,
): Promise<readonly Unplaced[]> {
  const verified = Object.entries(document.triggers).flatMap(([name, trigger]) => {
    const config = verifySchema.safeParse('webhook' in trigger ? trigger.webhook.verify : undefined);
    if (!config.success || config.data.scheme === 'none') return [];
    return [{ name, config: config.data, credential: config.data.credential }];
  });
  if (verified.length === 0) return [];
  const loaded = await withTenant(db, tenantId, async (client) => {
    const credentials = new Map<string, Credential>();
    for (const { credential: name } of verified) {
      const credential = await loadCredential({ db: client, cipher }, tenantId, name);
      // One that was deleted since it was listed: saving locks and looks again.
      if (credential !== undefined) credentials.set(name, credential);
    }
    return credentials;
  });
  return verified.flatMap(({ name, config, credential }) => {
    const found = loaded.get(credential);
    const fault = found && credentialFault(config, credential, found);
    if (fault === undefined) return [];
    const path = ['triggers', name, 'webhook', 'verify', 'credential'];
    return [{ path, code: 'invalid_value', ...fault }];
  });
}

/** Why webhooks cannot be verified with a credential. */
function credentialFault(
  config: VerifyConfig,
  name: string,
  credential: Credential,
): Pick<Problem, 'message' | 'fix'> | undefined {
  if (credential.type !== 'secret') {
    return {
      message: `credential \`${name}\` is of type ${credential.type}; webhooks are verified with a \`secret\``,
      fix: 'name a credential of type secret, or save this one as one',
    };
  }
  try {
    createVerifier(config, secretValuesOf(credential));
    return undefined;
  } catch (raw) {
    if (!(raw instanceof AppError)) throw raw;
    return { message: raw.message, fix: 'correct the credential' };
  }
}
