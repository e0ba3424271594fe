import type { CredentialType } from '../credentials/types.ts';
import type { Finding } from './findings.ts';
import { isKebabName } from './names.ts';
import type { Outline } from './outline.ts';
import { KINDS } from './steps/kinds.ts';
import type { CredentialUse } from './steps/kind.ts';
import { triggerCredentials } from './triggers.ts';
import type { StepKind } from './types.ts';

/** What is known of the tenant's credentials. */
export interface KnownCredentials {
  /** Whether the tenant has a credential of this name; without it, names are not checked. */
  readonly hasCredential?: ((name: string) => boolean) | undefined;
  /** Of a credential that the tenant has; without it, types are not checked. */
  readonly credentialType?: ((name: string) => CredentialType | undefined) | undefined;
}

export interface PlacedCredentialUse extends CredentialUse {
  /** Undefined: a trigger's. */
  readonly kind: StepKind | undefined;
}

/** Every place of a document that names a credential; the document may be wrong in places. */
export const credentialUses = ({ triggers, steps }: Outline): readonly PlacedCredentialUse[] => [
  ...triggers.flatMap(({ path, raw }) => placed(path, triggerCredentials(raw), undefined)),
  ...steps.flatMap(({ path, raw, kind }) =>
    kind === undefined ? [] : placed(path, KINDS[kind].credentials(raw), kind),
  ),
];

const placed = (
  base: Finding['path'],
  uses: readonly CredentialUse[],
  kind: StepKind | undefined,
): readonly PlacedCredentialUse[] => uses.map((use) => ({ ...use, path: [...base, ...use.path], kind }));

/** Names that the tenant has no credential of, and credentials that cannot do what they are named for. */
export function credentialFindings(outline: Outline, known: KnownCredentials): readonly Finding[] {
  const { hasCredential, credentialType } = known;
  if (hasCredential === undefined && credentialType === undefined) return [];
  return credentialUses(outline)
    .filter(({ name }) => isKebabName(name))
    .flatMap((use): readonly Finding[] => {
      if (hasCredential?.(use.name) === false) return [unknownCredential(use)];
      const type = credentialType?.(use.name);
      return type === undefined ? [] : typeFindings(use, type);
    });
}

const unknownCredential = ({ path, name }: CredentialUse): Finding => ({
  path,
  code: 'unknown_credential',
  message: `there is no credential \`${name}\``,
  fix: `save it first with PUT /api/v1/credentials/${name}, or correct the name`,
});

/** Triggers are checked where their credentials are read: they depend on the scheme. */
function typeFindings(
  { path, name, purpose, kind }: PlacedCredentialUse,
  type: CredentialType,
): readonly Finding[] {
  const common = { path, code: 'invalid_value' } as const;
  const runsCode = kind === 'code' || kind === 'notebook';
  if (purpose === 'send' && type === 'secret') {
    return [
      {
        ...common,
        message: `credential \`${name}\` is of type secret, which is never added to a request`,
        fix: `name one of type bearer, basic or api-key${runsCode ? '; to read its value, list it under `secrets`' : ''}`,
      },
    ];
  }
  if (purpose === 'read' && type !== 'secret') {
    return [
      {
        ...common,
        message: `credential \`${name}\` is of type ${type}; \`secrets\` takes those of type secret`,
        fix: runsCode
          ? `list it under \`credentials\`, and call \`ctx.fetch("${name}:/…")\`, which adds it without showing it`
          : 'save the value as a credential of type secret, and name that',
      },
    ];
  }
  return [];
}
