import { appError } from '../../errors/app-error.ts';
import { github } from './github.ts';
import { hmacScheme } from './hmac.ts';
import { hmacKey, type HmacAlgorithm, type VerifyKey } from './keys.ts';
import { verifyNothing } from './none.ts';
import type { VerifyConfig } from './schemas.ts';
import { bindScheme } from './scheme.ts';
import { slack } from './slack.ts';
import { standardWebhooks, standardWebhooksKey } from './standard-webhooks.ts';
import { stripe } from './stripe.ts';
import type { SecretValue, Verifier } from './types.ts';

/**
 * Makes the check of one webhook trigger. Keys are prepared here, once; the returned function is pure, never
 * throws, and may be kept for as long as configuration and secrets stay the same.
 *
 * @throws AppError `credential_invalid` when there is no secret (without one nothing would be checked) or one
 *   that the scheme cannot use. An endpoint whose verifier cannot be made must refuse every delivery.
 */
export function createVerifier(config: VerifyConfig, secrets: readonly SecretValue[]): Verifier {
  switch (config.scheme) {
    case 'none':
      return verifyNothing;
    case 'github':
      return bindScheme(github, hmacKeys(config.credential, 'sha256', secrets));
    case 'stripe':
      return bindScheme(stripe, hmacKeys(config.credential, 'sha256', secrets));
    case 'slack':
      return bindScheme(slack, hmacKeys(config.credential, 'sha256', secrets));
    case 'hmac':
      return bindScheme(hmacScheme(config), hmacKeys(config.credential, config.algorithm, secrets));
    case 'standard-webhooks':
      return bindScheme(standardWebhooks, standardWebhooksKeys(config.credential, secrets));
    default:
      throw new Error(`No verifier for ${String(config satisfies never)}`);
  }
}

/** Secrets of these schemes are used exactly as given, `whsec_` of Stripe included. */
function hmacKeys(
  credential: string,
  algorithm: HmacAlgorithm,
  secrets: readonly SecretValue[],
): readonly VerifyKey[] {
  return requireSecrets(credential, secrets).map(({ value, notAfterMs }) =>
    hmacKey(algorithm, Buffer.from(value), notAfterMs),
  );
}

function standardWebhooksKeys(credential: string, secrets: readonly SecretValue[]): readonly VerifyKey[] {
  return requireSecrets(credential, secrets).map((secret) => {
    const key = standardWebhooksKey(secret);
    if ('problem' in key) throw appError('credential_invalid', { args: [credential, key.problem] });
    return key;
  });
}

function requireSecrets(credential: string, secrets: readonly SecretValue[]): readonly SecretValue[] {
  if (secrets.length === 0 || secrets.some(({ value }) => value === '')) {
    const problem = 'it holds no secret to verify webhooks with; set its `value`';
    throw appError('credential_invalid', { args: [credential, problem] });
  }
  return secrets;
}
