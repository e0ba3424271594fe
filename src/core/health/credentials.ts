import type { EncryptionKeys } from '../credentials/cipher.ts';
import { createCipher } from '../credentials/cipher.ts';
import { countByKey } from '../credentials/reseal.ts';
import type { Queryable } from '../db/database.ts';
import { failure, ok, warning, type Finding } from './finding.ts';

/** Whether the credentials that are stored open with ENCRYPTION_KEY. For roles that see all tenants. */
export async function credentialFinding(db: Queryable, keys: EncryptionKeys): Promise<Finding> {
  const check = 'credentials';
  const { currentKeyId, keyIds } = createCipher(keys);
  const counts = await countByKey(db);
  const sum = (isCounted: (keyId: string) => boolean): number =>
    [...counts].reduce((total, [keyId, count]) => total + (isCounted(keyId) ? count : 0), 0);
  const all = sum(() => true);
  const closed = sum((keyId) => !keyIds.has(keyId));
  const old = all - closed - sum((keyId) => keyId === currentKeyId);
  if (closed > 0) {
    return failure(
      check,
      `${closed} of ${all} credential(s) cannot be opened with ENCRYPTION_KEY`,
      'add the key that sealed them to it, after a comma, and run `millrace reseal`; or store them anew',
    );
  }
  if (old > 0) {
    return warning(
      check,
      `${old} of ${all} credential(s) are sealed with a key of ENCRYPTION_KEY that is not its first`,
      'once every process has the new key first, run `millrace reseal`, and then take the old one out',
    );
  }
  return ok(check, all === 0 ? 'none is stored' : `ENCRYPTION_KEY opens all ${all} of them`);
}
