/**
 * Every problem code Millrace can answer with. Codes are API: never renamed, never reused.
 * `%s` placeholders are filled, in order, by the arguments given to {@link appError}.
 * A test holds this table and docs/errors.md together.
 */
export const ERROR_KINDS = [
  'invalid',
  'unprocessable',
  'too_large',
  'unsupported_media',
  'unauthenticated',
  'forbidden',
  'not_found',
  'gone',
  'conflict',
  'limited',
  'unavailable',
  'internal',
] as const;
export type ErrorKind = (typeof ERROR_KINDS)[number];

interface ErrorDefinition {
  readonly kind: ErrorKind;
  readonly message: string;
}
const define = (kind: ErrorKind, message: string): ErrorDefinition => ({ kind, message });

export const ERRORS = {
  // requests
  invalid_request: define('invalid', '%s'),
  malformed_json: define('invalid', 'The request body is not valid JSON: %s'),
  json_too_deep: define('invalid', 'The JSON body is nested deeper than %s levels; flatten it'),
  invalid_cursor: define('invalid', 'The cursor is not one this list gave out; start again without `cursor`'),
  body_too_large: define(
    'too_large',
    'The body is larger than %s bytes after decompression; send less or raise the limit',
  ),
  request_timeout: define('invalid', 'The request did not arrive in time; send it faster'),
  headers_too_large: define('too_large', 'The request headers are too large'),
  unsupported_content_type: define('unsupported_media', 'Content type %s is not accepted here; send %s'),
  unsupported_content_encoding: define(
    'unsupported_media',
    'Content encoding %s is not accepted; send identity, gzip or deflate',
  ),
  unauthenticated: define(
    'unauthenticated',
    'A valid API key is needed: send `Authorization: Bearer <api key>`',
  ),
  forbidden: define('forbidden', 'This API key may not do that'),
  not_found: define('not_found', 'There is nothing at this address'),
  method_not_allowed: define('not_found', 'This address does not answer %s'),
  idempotency_conflict: define(
    'conflict',
    'This Idempotency-Key was used before with other input; use a new key',
  ),
  rate_limited: define('limited', 'Too many requests; try again after %s s'),
  internal: define('internal', 'Something failed on our side; the request id finds it in our log'),
  unavailable: define('unavailable', 'The service cannot take this right now; try again after %s s'),
  sandbox_not_ready: define('unavailable', 'What code steps run in is still being prepared'),
  storage_unavailable: define(
    'unavailable',
    'The database did not confirm the write; send it again, a repeat is recognised',
  ),
  backlog_full: define('unavailable', 'Too many executions are waiting; try again after %s s'),
  // webhooks
  endpoint_not_found: define('not_found', 'There is no webhook endpoint at this address'),
  signature_invalid: define('unauthenticated', 'The signature of this request could not be verified'),
  filter_limit: define('unprocessable', 'The filter of this endpoint met a limit: %s'),
  execution_failed: define('internal', 'The execution failed'),
  // workflows
  workflow_invalid: define('unprocessable', 'The workflow has %s problem(s)'),
  workflow_not_found: define('not_found', 'Workflow %s does not exist'),
  workflow_version_not_found: define('not_found', 'Workflow %s has no version %s'),
  workflow_disabled: define('conflict', 'Workflow %s is disabled; enable it first'),
  workflow_name_mismatch: define(
    'unprocessable',
    'The document is named %s but was sent to %s; make them equal',
  ),
  not_supported: define('unprocessable', '%s is not supported by this release'),
  input_invalid: define('unprocessable', 'The input does not match the workflow’s inputSchema: %s'),
  // executions and deliveries
  execution_not_found: define('not_found', 'Execution %s does not exist'),
  execution_ended: define('conflict', 'Execution %s has already ended as %s'),
  execution_not_ended: define('conflict', 'Execution %s has not ended yet; cancel it or wait'),
  delivery_not_found: define('not_found', 'Delivery %s does not exist'),
  delivery_not_replayable: define('conflict', 'Delivery %s cannot be replayed: %s'),
  replay_disabled: define('forbidden', 'Replaying deliveries is switched off (FEATURE_WEBHOOK_REPLAY)'),
  // credentials, keys
  credential_not_found: define('not_found', 'Credential %s does not exist'),
  credential_invalid: define('unprocessable', 'Credential %s is not valid: %s'),
  credential_unreadable: define(
    'internal',
    'Credential %s cannot be decrypted with the configured ENCRYPTION_KEY',
  ),
  credential_in_use: define('conflict', 'Credential %s is used by workflow %s; change that first'),
  api_key_not_found: define('not_found', 'API key %s does not exist'),
  api_key_last_owner: define(
    'conflict',
    'API key %s is the last owner key of its tenant; create another one before it goes',
  ),
  // process level
  config_invalid: define('invalid', 'The configuration has %s problem(s)'),
  database_unfit: define('unavailable', '%s'),
  schema_mismatch: define('unavailable', '%s'),
  schema_behind: define('unavailable', '%s'),
  redis_unfit: define('unavailable', '%s'),
  port_in_use: define(
    'unavailable',
    'Port %s is already in use; stop what uses it or set %s to another port',
  ),
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERRORS;
