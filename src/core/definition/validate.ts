import { isRecord } from '../json.ts';
import { fileFindings } from './files.ts';
import type { Finding } from './findings.ts';
import { inputSchemaFindings } from './input-schema-findings.ts';
import { outlineOf, type Outline } from './outline.ts';
import { KINDS } from './steps/kinds.ts';
import { below, type MaxResources } from './steps/kind.ts';
import { answersSender, checkTrigger } from './triggers.ts';
import { credentialFindings, type KnownCredentials } from './validate-credentials.ts';
import { expressionFindings } from './validate-expressions.ts';
import { stepFindings } from './validate-steps.ts';

export interface ValidateOptions extends KnownCredentials {
  /** Paths of the files deployed along; without it, files are not looked for. */
  readonly files?: ReadonlySet<string> | undefined;
  /** What sandboxes of the tenant may have at most; without it, only what every installation refuses is refused. */
  readonly maxResources?: MaxResources | undefined;
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
    ...kindFindings(outline, options),
    ...credentialFindings(outline, options),
    ...fileFindings(outline, options.files),
    ...inputFindings(outline),
  ];
}

function kindFindings({ triggers, steps }: Outline, { maxResources }: ValidateOptions): readonly Finding[] {
  const context = { answersSenders: triggers.some(({ raw }) => answersSender(raw)), maxResources };
  return [
    ...triggers.flatMap(({ path, raw }) => below(path, checkTrigger(raw))),
    ...steps.flatMap(({ path, raw, kind }) =>
      kind === undefined ? [] : below(path, KINDS[kind].check(raw, context)),
    ),
  ];
}

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
