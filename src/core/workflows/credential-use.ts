import type { Queryable } from '../db/database.ts';
import { outlineOf } from '../definition/outline.ts';
import { credentialUses } from '../definition/validate-credentials.ts';
import { currentDocuments } from './store.ts';

/** The names of all credentials that a document uses. */
export function credentialsOf(document: unknown): ReadonlySet<string> {
  return new Set(credentialUses(outlineOf(document)).map(({ name }) => name));
}

/** The names of the workflows whose current version uses the credential. @param db within a tenant */
export async function workflowsUsingCredential(
  db: Queryable,
  credential: string,
): Promise<readonly string[]> {
  const workflows = await currentDocuments(db);
  return workflows.filter(({ document }) => credentialsOf(document).has(credential)).map(({ name }) => name);
}
