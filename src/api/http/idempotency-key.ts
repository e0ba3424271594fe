import type { IncomingHttpHeaders } from 'node:http';
import { appError } from '../../core/errors/app-error.ts';

const FORMAT = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/**
 * The `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header), taken as it is: quotes of a structured
 * field belong to it.
 *
 * @throws AppError `invalid_request` for one that is empty, too long or not printable ASCII
 */
export function idempotencyKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const key = headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && FORMAT.test(key)) return key;
  throw appError('invalid_request', {
    args: ['The Idempotency-Key header must be 1 to 255 printable ASCII characters'],
  });
}
