import type { CredentialCipher } from '../credentials/cipher.ts';
import { listCredentials, loadCredential } from '../credentials/store.ts';
import { secretValuesOf } from '../credentials/types.ts';
import type { Queryable } from '../db/database.ts';
import type { WorkflowDocument } from '../definition/document.ts';
import { formatDuration, parseDuration, SECOND_MS } from '../definition/duration.ts';
import { formatPath, type Path } from '../definition/findings.ts';
import { parseWorkflow } from '../definition/parse.ts';
import { readYaml } from '../definition/yaml-source.ts';
import { AppError, type Problem } from '../errors/app-error.ts';
import type { JsonObject } from '../json.ts';
import { verifySchema } from '../triggers/verify/schemas.ts';
import { createVerifier } from '../triggers/verify/verify.ts';

/** What a deployment is checked against, beside the language itself. */
export interface CheckDeps {
  /** Within the tenant. */
  readonly db: Queryable;
  readonly cipher: CredentialCipher;
  /** The longest `timeout` of an execution. */
  readonly maxExecutionTimeS: number;
}

export type CheckedWorkflow =
  | { readonly ok: true; readonly document: WorkflowDocument; readonly warnings: readonly Problem[] }
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
  const known = new Set((await listCredentials(deps.db, tenantId)).map(({ name }) => name));
  const missing = new Set<string>();
  const hasCredential = (name: string): boolean => {
    if (!known.has(name)) missing.add(name);
    return known.has(name);
  };
  const parsed = parseWorkflow(source, { hasCredential });
  const fileProblems = Object.keys(files).map(unusedFile);
  if (!parsed.ok) {
    const problems = [...parsed.problems, ...fileProblems];
    const nothingElse = problems.every(({ code }) => code === 'unknown_credential');
    return { ok: false, problems, missingCredentials: nothingElse ? [...missing] : [] };
  }
  const { document, warnings } = parsed;
  const problems = [
    ...timeoutProblems(document, deps.maxExecutionTimeS),
    ...(await verifyProblems(deps, tenantId, document)),
  ];
  if (problems.length + fileProblems.length === 0) return { ok: true, document, warnings };
  const placed = problems.map((problem) => place(problem, source));
  return { ok: false, problems: [...placed, ...fileProblems], missingCredentials: [] };
}

type Unplaced = Omit<Problem, 'path'> & { readonly path: Path };

function place({ path, ...problem }: Unplaced, source: string): Problem {
  const position = readYaml(source).source?.locate({ path, at: 'value' });
  return { path: formatPath(path), ...position, ...problem };
}

/** No step kind of this release reads files. */
const unusedFile = (name: string): Problem => ({
  path: formatPath(['files', name]),
  code: 'no_effect',
  message: `no step uses the file \`${name}\``,
  fix: 'leave it out',
});

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
  const problems: Unplaced[] = [];
  for (const [name, trigger] of Object.entries(document.triggers)) {
    const config = verifySchema.safeParse('webhook' in trigger ? trigger.webhook.verify : undefined);
    if (!config.success || config.data.scheme === 'none') continue;
    const at = {
      path: ['triggers', name, 'webhook', 'verify', 'credential'],
      code: 'invalid_value',
    } as const;
    const credential = await loadCredential({ db, cipher }, tenantId, config.data.credential);
    if (credential === undefined) continue; // deleted since it was listed; saving locks and looks again
    if (credential.type !== 'secret') {
      problems.push({
        ...at,
        message: `credential \`${config.data.credential}\` is of type ${credential.type}; webhooks are verified with a \`secret\``,
        fix: 'name a credential of type secret, or save this one as one',
      });
      continue;
    }
    try {
      createVerifier(config.data, secretValuesOf(credential));
    } catch (raw) {
      if (!(raw instanceof AppError)) throw raw;
      problems.push({ ...at, message: raw.message, fix: 'correct the credential' });
    }
  }
  return problems;
}
