import type { Queryable } from '../db/database.ts';
import { outlineOf } from '../definition/outline.ts';
import { KINDS } from '../definition/steps/kinds.ts';
import { triggerCredentials } from '../definition/triggers.ts';
import { currentDocuments } from './store.ts';

/** The names of all credentials that a document uses. */
export function credentialsOf(document: unknown): ReadonlySet<string> {
  const { triggers, steps } = outlineOf(document);
  const uses = [
    ...triggers.flatMap(({ raw }) => triggerCredentials(raw)),
    ...steps.flatMap(({ raw, kind }) => (kind === undefined ? [] : KINDS[kind].credentials(raw[kind]))),
  ];
  return new Set(uses.map(({ name }) => name));
}

/** The names of the workflows whose current version uses the credential. @param db within a tenant */
export async function workflowsUsingCredential(
  db: Queryable,
  credential: string,
): Promise<readonly string[]> {
  const workflows = await currentDocuments(db);
  return workflows.filter(({ document }) => credentialsOf(document).has(credential)).map(({ name }) => name);
}
