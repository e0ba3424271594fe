/** A received webhook request, as far as verification reads it. */
export interface WebhookRequest {
  readonly method: string;
  /** The configured public URL plus path and raw query; never taken from the Host header. */
  readonly url: string;
  /** Name, value, name, value …, as `IncomingMessage.rawHeaders` gives them: repeats are not joined. */
  readonly rawHeaders: readonly string[];
  /** The bytes as received (after content decoding), not parsed. */
  readonly body: Buffer;
  readonly nowMs: number;
}

/** A reply that the provider expects instead of a delivery. */
export interface Handshake {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface Accepted {
  readonly ok: true;
  /** What the provider calls this delivery: the same key again is a duplicate. */
  readonly dedupeKey?: string;
  readonly handshake?: Handshake;
}

export interface Refused {
  readonly ok: false;
  /** For the delivery record only; holds neither a secret, nor the expected signature, nor what was sent. */
  readonly reason: string;
}

export type VerifyResult = Accepted | Refused;

/** A signing secret; during a rotation several are valid at once. */
export interface SecretValue {
  readonly value: string;
  /** The last moment it is accepted; without one it is accepted always. */
  readonly notAfterMs?: number;
}

export type Verifier = (request: WebhookRequest) => VerifyResult;

export const refused = (reason: string): Refused => ({ ok: false, reason });
