import { isRecord } from '../json.ts';
import type { Finding, Path } from './findings.ts';
import { inputSchemaFindings } from './input-schema-findings.ts';
import { isKebabName } from './names.ts';
import { outlineOf, type Outline } from './outline.ts';
import { KINDS } from './steps/kinds.ts';
import type { CredentialUse } from './steps/kind.ts';
import { answersSender, checkTrigger, triggerCredentials } from './triggers.ts';
import { expressionFindings } from './validate-expressions.ts';
import { stepFindings } from './validate-steps.ts';

export interface ValidateOptions {
  /** Whether the tenant has a credential of this name; without it, names are not checked. */
  readonly hasCredential?: (name: string) => boolean;
}

/**
 * What the schema cannot tell, of any data: the schema need not have been met. `schemaFindings` and these say different
 * things, so a document's problems are both together.
 */
export function semanticFindings(document: unknown, options: ValidateOptions): readonly Finding[] {
  const outline = outlineOf(document);
  return [
    ...stepFindings(outline),
    ...expressionFindings(outline),
    ...kindFindings(outline),
    ...credentialFindings(outline, options),
    ...inputFindings(outline),
  ];
}

const below = (base: Path, findings: readonly Finding[]): readonly Finding[] =>
  findings.map((finding) => ({ ...finding, path: [...base, ...finding.path] }));

function kindFindings({ triggers, steps }: Outline): readonly Finding[] {
  const context = { answersSenders: triggers.some(({ raw }) => answersSender(raw)) };
  return [
    ...triggers.flatMap(({ path, raw }) => below(path, checkTrigger(raw))),
    ...steps.flatMap(({ path, raw, kind }) =>
      kind === undefined ? [] : below([...path, kind], KINDS[kind].check(raw[kind], context)),
    ),
  ];
}

function credentialFindings(
  { triggers, steps }: Outline,
  { hasCredential }: ValidateOptions,
): readonly Finding[] {
  if (hasCredential === undefined) return [];
  const uses = [
    ...triggers.flatMap(({ path, raw }) => usesBelow(path, triggerCredentials(raw))),
    ...steps.flatMap(({ path, raw, kind }) =>
      kind === undefined ? [] : usesBelow([...path, kind], KINDS[kind].credentials(raw[kind])),
    ),
  ];
  return uses
    .filter(({ name }) => isKebabName(name) && !hasCredential(name))
    .map(({ path, name }) => ({
      path,
      code: 'unknown_credential',
      message: `there is no credential \`${name}\``,
      fix: `save it first with PUT /api/v1/credentials/${name}, or correct the name`,
    }));
}

const usesBelow = (base: Path, uses: readonly CredentialUse[]): readonly CredentialUse[] =>
  uses.map(({ path, name }) => ({ path: [...base, ...path], name }));

function inputFindings({ root }: Outline): readonly Finding[] {
  // What is no schema at all the document's schema says already.
  return isRecord(root.inputSchema) ? below(['inputSchema'], inputSchemaFindings(root.inputSchema)) : [];
}

/** What is allowed and yet probably not meant; of documents without problems. */
export function warningsOf(document: unknown): readonly Finding[] {
  const { root, triggers, steps } = outlineOf(document);
  const says = Object.hasOwn(root, 'output') || steps.some(({ kind }) => kind === 'respond');
  return triggers
    .filter(({ raw }) => answersSender(raw) && !says)
    .map(({ path }) => ({
      path: [...path, 'webhook', 'respond'],
      code: 'no_effect',
      message: 'the sender waits for a result, but the workflow has neither `output` nor a `respond` step',
      fix: 'add `output: steps.<id>.output`, or write `respond: accepted`',
    }));
}
