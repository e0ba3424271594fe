import { terminalError } from '../step-error.ts';
import { createRedactor, NO_REDACTION, type Redactor } from './redact.ts';
import { sensitiveValuesOf, type Credential } from './types.ts';

/** Undefined when the tenant has no credential of that name. */
export type ReadCredential = (tenantId: string, name: string) => Promise<Credential | undefined>;

const NONE: ReadonlyMap<string, Credential> = new Map();

/**
 * The credentials that a step names, by name.
 *
 * @throws StepError `credential_missing` for the first that does not exist
 */
export async function loadCredentials(
  read: ReadCredential,
  tenantId: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, Credential>> {
  if (names.length === 0) return NONE;
  const found = await Promise.all(names.map(async (name) => [name, await read(tenantId, name)] as const));
  const loaded = new Map<string, Credential>();
  for (const [name, credential] of found) {
    if (credential === undefined) {
      throw terminalError(
        'credential_missing',
        `Credential ${name} does not exist; create it, then retry the execution`,
      );
    }
    loaded.set(name, credential);
  }
  return loaded;
}

/**
 * What `ctx.secrets` holds: the current values of the `secret` credentials that a step lists under `secrets:`. These,
 * unlike what `ctx.fetch` uses, do go into the sandbox.
 *
 * @throws StepError `credential_missing` for one that does not exist, or is of another type
 */
export function secretsOf(credentials: ReadonlyMap<string, Credential>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [...credentials].map(([name, credential]) => {
      if (credential.type === 'secret') return [name, credential.data.value];
      throw terminalError(
        'credential_missing',
        `\`secrets\` takes credentials of type secret, and ${name} is of type ${credential.type}; list it under ` +
          `\`credentials\` and use it as ctx.fetch("${name}:/path"), so that its value stays out of the sandbox`,
      );
    }),
  );
}

/** {@link loadCredentials}, then {@link secretsOf}. */
export const loadSecrets = async (
  read: ReadCredential,
  tenantId: string,
  names: readonly string[],
): Promise<Readonly<Record<string, string>>> => secretsOf(await loadCredentials(read, tenantId, names));

/**
 * Makes redactors for sets of credentials, and remembers them for as long as the credentials are the same objects (a
 * reader gives the same ones for a while): making one takes longer than a small step's logs need.
 */
export function createRedactors(): (credentials: readonly Credential[]) => Redactor {
  const remembered = new WeakMap<
    Credential,
    { readonly others: readonly Credential[]; readonly redactor: Redactor }
  >();
  return (credentials) => {
    const [first, ...others] = credentials;
    if (first === undefined) return NO_REDACTION;
    const known = remembered.get(first);
    if (known?.others.length === others.length && known.others.every((one, index) => one === others[index])) {
      return known.redactor;
    }
    const redactor = createRedactor(credentials.flatMap(sensitiveValuesOf));
    remembered.set(first, { others, redactor });
    return redactor;
  };
}
