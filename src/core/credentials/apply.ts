import { matchesHost } from '../egress/allow-list.ts';
import { terminalError } from '../step-error.ts';
import {
  CREDENTIAL_NAME_PATTERN,
  RESERVED_CREDENTIAL_NAMES,
  parseHostPattern,
  type Credential,
} from './types.ts';

/** A credential that is sent along with requests; a `secret` never is. */
export type SendableCredential = Exclude<Credential, { type: 'secret' }>;

/** What a credential adds to a request. */
export interface Authorization {
  readonly headers?: Record<string, string>;
  readonly query?: Record<string, string>;
}

/**
 * What to add to a request for `url`, or undefined when the credential may not go there: it goes to the origin of
 * its `baseUrl` and to `allowedHosts`, and never over plain http unless `baseUrl` itself is http. To be asked again
 * for every hop of a redirect.
 */
export function authorizationFor(credential: Credential, url: URL): Authorization | undefined {
  if (credential.type === 'secret' || !mayBeSentTo(credential, url)) return undefined;
  switch (credential.type) {
    case 'bearer':
      return { headers: { authorization: `Bearer ${credential.data.token}` } };
    case 'basic': {
      const { username, password } = credential.data;
      return {
        headers: { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` },
      };
    }
    case 'api-key': {
      const { in: place, name, value } = credential.data;
      return place === 'header' ? { headers: { [name.toLowerCase()]: value } } : { query: { [name]: value } };
    }
    default:
      throw new Error(`No authorization known for ${String(credential satisfies never)}`);
  }
}

/** The header that a credential sets, in lower case; undefined for a query parameter. */
export function headerOf(credential: SendableCredential): string | undefined {
  if (credential.type !== 'api-key') return 'authorization';
  return credential.data.in === 'header' ? credential.data.name.toLowerCase() : undefined;
}

/** Whether a credential was given to this URL's origin: that of its `baseUrl`, or one of `allowedHosts`. */
export function mayBeSentTo(credential: SendableCredential, url: URL): boolean {
  const base = new URL(credential.data.baseUrl);
  if (url.origin === base.origin) return true;
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && base.protocol === 'http:')) return false;
  return (credential.data.allowedHosts ?? []).some((entry) => {
    const pattern = parseHostPattern(entry);
    return pattern !== undefined && matchesHost(pattern, url);
  });
}

/** Where a request's target leads. */
export interface ResolvedTarget {
  readonly url: string;
  /** The credential that the target named; undefined for a plain URL. */
  readonly credential: Credential | undefined;
}

const NAMED_TARGET = /^([^:/?#]+):(\/.*)$/s;

/**
 * Reads the target of a request: a URL, or `credential-name:/path`, which is the credential's `baseUrl` plus the
 * path. A URL scheme is no credential name, so `https:/path` and `ftp://host` are left for the egress client to judge.
 *
 * @param listed the names that may be used; undefined where the tenant has no such credential
 * @throws StepError `egress_denied` for a name that is not listed, `credential_missing` for one that is and does not
 *   exist, else as {@link resolvePath}
 */
export function resolveTarget(
  target: string,
  listed: ReadonlyMap<string, Credential | undefined>,
): ResolvedTarget {
  const [, name, path] = NAMED_TARGET.exec(target) ?? [];
  if (name === undefined || path === undefined) return { url: target, credential: undefined };
  if (!CREDENTIAL_NAME_PATTERN.test(name) || RESERVED_CREDENTIAL_NAMES.has(name)) {
    return { url: target, credential: undefined };
  }
  if (!listed.has(name)) {
    throw terminalError(
      'egress_denied',
      `This step does not list the credential ${name}; add it to the step: \`credentials: [${name}]\``,
    );
  }
  const credential = listed.get(name);
  if (credential === undefined) {
    throw terminalError(
      'credential_missing',
      `Credential ${name} does not exist; create it, then retry the execution`,
    );
  }
  return { url: resolvePath(credential, path), credential };
}

/**
 * A credential's `baseUrl` plus a path (with query, if any). The path often holds values from a payload, so it can
 * neither leave the base's path nor name another host: `..` in any spelling and a leading `//` are refused.
 *
 * @throws StepError `invalid_input` for such a path, `credential_missing` for a credential without a `baseUrl`.
 */
export function resolvePath(credential: Credential, path: string): string {
  if (credential.type === 'secret') {
    throw terminalError(
      'credential_missing',
      'A `secret` credential has no baseUrl; use bearer, basic or api-key',
    );
  }
  const refuse = (why: string): never => {
    throw terminalError('invalid_input', `The path after the credential’s name ${why}`);
  };
  if (!path.startsWith('/')) refuse('must begin with one slash');
  if (/^\/[/\\]/.test(path)) refuse('must begin with one slash only: a second one would name another host');
  // oxlint-disable-next-line no-control-regex -- WHATWG URL drops tabs and line breaks, which would hide `..`
  if (/[\x00-\x1f\x7f]/.test(path)) refuse('must hold no control character; percent-encode it');
  const [pathname = ''] = path.split(/[?#]/, 1);
  if (hasParentSegment(pathname)) refuse('must hold no `..` segment, encoded or not');
  const base = new URL(credential.data.baseUrl);
  const basePath = base.pathname.replace(/\/$/, '');
  const url = URL.parse(`${base.origin}${basePath}${path}`);
  // Cannot be reached with the checks above; this is the property they are there for.
  if (url === null || url.origin !== base.origin || !url.pathname.startsWith(`${basePath}/`)) {
    return refuse('does not stay below the credential’s baseUrl');
  }
  return url.href;
}

/** Servers and proxies decode paths once or twice before they walk them; `%2f` and `\` may end a segment there. */
function hasParentSegment(pathname: string): boolean {
  let decoded = pathname;
  for (let round = 0; round < 3; round++) {
    if (decoded.split(/[/\\]/).includes('..')) return true;
    const next = decoded.replaceAll(/%(2e|2f|5c|25)/gi, (_, code: string) =>
      String.fromCharCode(parseInt(code, 16)),
    );
    if (next === decoded) return false;
    decoded = next;
  }
  return decoded.split(/[/\\]/).includes('..');
}
