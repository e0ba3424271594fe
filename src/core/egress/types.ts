import type { StepError } from '../step-error.ts';
import type { StreamedBody } from './outgoing-body.ts';

/** What a credential adds to one hop. */
export interface HopAuthorization {
  readonly headers?: Record<string, string>;
  readonly query?: Record<string, string>;
}

export interface EgressRequest {
  readonly method: string;
  /** Absolute, http or https. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A streamed one is ended when the request is over, whether all of it was taken or not. */
  readonly body?: Buffer | string | StreamedBody;
  readonly signal?: AbortSignal;
  /** For everything: look-ups, redirects, the whole body. */
  readonly timeoutMs: number;
  /** Of the body, before and after decompression. */
  readonly maxResponseBytes: number;
  /** The failure of a larger body; default `response_too_large`. */
  readonly tooLarge?: (label: string, maxBytes: number) => StepError;
  /**
   * Asked for every hop, so that a credential reaches only the origins it was given for. What it adds is not carried
   * on to the next hop, and its query parameters do not appear in `EgressResponse.url`.
   */
  readonly authorize?: (url: URL) => HopAuthorization | undefined;
  /** Asked for every hop before its name is looked up; throws `egress_denied` for one that may not be called. */
  readonly permit?: (url: URL) => void;
  /** `follow` (default), `manual` (the 3xx itself is the response) or `error` (it fails as `redirect_denied`). */
  readonly redirect?: RedirectMode;
}

export type RedirectMode = 'follow' | 'manual' | 'error';

export interface EgressResponse {
  readonly status: number;
  /**
   * By lower-case name; repeated ones joined by `, `. `content-encoding` and `content-length` are left out where the
   * body was decompressed, since they no longer describe it.
   */
  readonly headers: Record<string, string>;
  /** Decompressed. */
  readonly body: Buffer;
  /** Where the response came from, after redirects. */
  readonly url: string;
  /** Redirects that were followed. */
  readonly hops: number;
  readonly timings: {
    /** Finding and checking addresses, of all hops. */
    readonly lookupMs: number;
    /** From the start to the headers of the last response. */
    readonly firstByteMs: number;
    readonly totalMs: number;
  };
}

/** A response whose body is still to come. */
export interface EgressStream {
  readonly status: number;
  /**
   * By lower-case name, repeated ones repeatedly. `content-encoding` and `content-length` are left out where the body is
   * decompressed.
   */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Where the response comes from, after redirects. */
  readonly url: string;
  readonly hops: number;
  /**
   * Decompressed, for one reader, who sets the pace: nothing is received that is far from being read. It throws what
   * `request` would. Leaving early drops the rest.
   */
  readonly body: AsyncIterableIterator<Buffer, undefined>;
  /** The body, or its rest, is not wanted: ends the connection. Idempotent. */
  readonly cancel: () => void;
}

export interface EgressClient {
  /**
   * Sends a request to a public address, or one that `allowPrivate` names.
   *
   * @throws StepError terminal `egress_denied`, `redirect_denied`, `response_too_large`, `invalid_input`,
   *   `cancelled`; retryable `dns_failed`, `connect_failed`, `timeout`
   */
  request(request: EgressRequest): Promise<EgressResponse>;
  /**
   * The same, but the body is given while it arrives. Time and signal go on bounding it until its end. A response that
   * is neither read nor cancelled keeps its connection until then.
   */
  stream(request: EgressRequest): Promise<EgressStream>;
  /** Refuses further requests and waits for those in flight. */
  close(): Promise<void>;
}
