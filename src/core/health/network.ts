import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { coerceError, errorCodeOf } from '../errors/app-error.ts';
import { failure, ok, warning, type Finding } from './finding.ts';

const SLOW_MS = 500;
const TIMEOUT_MS = 5000;

/** Whether a host has an address, as this machine's resolver says. */
export async function nameFinding(key: string, host: string): Promise<Finding> {
  const check = `dns.${key}`;
  const bare = host.replace(/^\[|\]$/g, '');
  if (isIP(bare) !== 0) return ok(check, `${bare} is an address`);
  const since = performance.now();
  try {
    const addresses = await lookup(bare, { all: true });
    const tookMs = Math.round(performance.now() - since);
    const said = `${bare} is ${addresses.map(({ address }) => address).join(', ')}`;
    return tookMs > SLOW_MS
      ? warning(
          check,
          `${said}; the answer took ${tookMs} ms`,
          'look at the name servers in /etc/resolv.conf: every new connection waits for them',
        )
      : ok(check, said);
  } catch (raw) {
    const code = errorCodeOf(raw) ?? coerceError(raw).message;
    return failure(
      check,
      `${bare} has no address (${code})`,
      `correct the host in ${key}, or the name servers in /etc/resolv.conf`,
    );
  }
}

/** What answered, or why nothing did. Any status is an answer. */
export async function answerOf(
  url: string,
): Promise<{ readonly status: number; readonly text: string } | { readonly error: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'manual' });
    return { status: response.status, text: (await response.text()).slice(0, 65_536) };
  } catch (raw) {
    const error = coerceError(raw);
    // fetch tells what happened in its cause alone.
    const cause = error.cause === undefined ? error : coerceError(error.cause);
    return { error: cause.message || (errorCodeOf(cause) ?? 'no answer') };
  }
}
