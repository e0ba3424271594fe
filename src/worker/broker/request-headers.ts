import { terminalError } from '../../core/step-error.ts';

/**
 * Libraries set these out of habit, and fetch itself ignores them in silence
 * (https://fetch.spec.whatwg.org/#forbidden-request-header). The client writes its own.
 */
const IGNORED: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
]);

export interface RequestHeaders {
  /** For the egress client, which refuses what is malformed or not the caller's to set. */
  readonly headers: Record<string, string>;
  /** What `content-length` announced. */
  readonly announcedBytes: number | undefined;
}

/**
 * Headers as code gives them: repeated ones are joined (RFC 9110, section 5.3; cookies by RFC 6265), those that frame the
 * message are left out, `host` too where it says the same as the URL.
 *
 * @param credentialHeader what the credential sets instead, whatever the code says
 * @throws StepError `invalid_input` for another `host`
 */
export function requestHeaders(
  pairs: readonly (readonly [string, string])[],
  url: URL,
  credentialHeader: string | undefined,
): RequestHeaders {
  const joined = new Map<string, string>();
  let announcedBytes: number | undefined;
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase();
    if (lower === 'content-length' && /^\d{1,15}$/.test(value)) announcedBytes = Number(value);
    if (IGNORED.has(lower) || lower === credentialHeader) continue;
    if (lower === 'host') {
      if (value.toLowerCase() === url.host) continue;
      throw terminalError(
        'invalid_input',
        `Header \`host\` must be ${url.host}, as in the URL, or left out; another one is not sent`,
      );
    }
    const before = joined.get(lower);
    joined.set(lower, before === undefined ? value : `${before}${lower === 'cookie' ? '; ' : ', '}${value}`);
  }
  return { headers: Object.fromEntries(joined), announcedBytes };
}
