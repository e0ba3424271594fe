import { authorizationFor, headerOf, mayBeSentTo, resolveTarget } from '../../core/credentials/apply.ts';
import type { Redactor } from '../../core/credentials/redact.ts';
import { createRedactors } from '../../core/credentials/secrets.ts';
import type { Credential, HostPattern } from '../../core/credentials/types.ts';
import { isAllowed, ruleFor } from '../../core/egress/allow-list.ts';
import { checkUrl } from '../../core/egress/destination.ts';
import type { EgressClient, EgressRequest, EgressResponse, EgressStream } from '../../core/egress/types.ts';
import { terminalError, type StepError } from '../../core/step-error.ts';
import { within, type Span } from '../../core/telemetry/tracing.ts';
import type { BrokerRequest, BrokerResponse } from '../sandbox/types.ts';
import { startCall, type Call } from './call.ts';
import { createUsage, DEFAULT_LIMITS, limitError, type BrokerLimits, type Usage } from './limits.ts';
import type { RefusalReason } from './refusals.ts';
import { createRequestBody, type RequestBody } from './request-body.ts';
import { requestHeaders } from './request-headers.ts';
import { brokerResponse } from './response.ts';

export interface BrokerDeps {
  readonly egress: EgressClient;
  /** Counted in `broker_refusals_total`. */
  readonly onRefusal: (reason: RefusalReason) => void;
  /** What differs from the defaults. */
  readonly limits?: Partial<BrokerLimits>;
}

/** What one attempt of one step may do. */
export interface GrantOptions {
  /** Hosts it may call beside those of its credentials; undefined: every public one, for what the author wrote. */
  readonly rules: readonly HostPattern[] | undefined;
  /** The credentials that the step lists, by name; undefined where the tenant has none of that name. */
  readonly credentials: ReadonlyMap<string, Credential | undefined>;
  /** For what is logged, and said of failures: masks at least the credentials above. */
  readonly redactor: Redactor;
  /** Goes along with every request, unless that has a span of its own. */
  readonly traceparent: string | undefined;
  /** What requests are part of, where that is recorded. */
  readonly span?: Span | undefined;
  /** Ends everything, like `close`. */
  readonly signal: AbortSignal;
  /** What is left of the attempt, from now on: no request takes longer. */
  readonly timeoutMs: number;
  readonly log: (level: 'info' | 'warn', message: string) => void;
}

/** A request of the platform's own, its body known and its response wanted whole. */
export interface GrantRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Used wherever it may be sent; one of the grant's. */
  readonly credential: Credential | undefined;
  readonly redirect: 'follow' | 'manual';
  readonly maxResponseBytes: number;
}

/** The right of one attempt to call out; it ends with the attempt. */
export interface Grant {
  /**
   * Answers `ctx.fetch`. What it resolves to holds its place among the requests at once until its body is read to the
   * end or left, or the request's signal is aborted.
   *
   * @throws StepError, as the body does: `egress_denied`, `egress_limit`, `credential_missing`, and those of the egress
   *   client; redacted
   */
  readonly fetch: (request: BrokerRequest) => Promise<BrokerResponse>;
  /** @throws StepError as the egress client, redacted */
  readonly request: (request: GrantRequest) => Promise<EgressResponse>;
  /** Ends every request; later ones are refused. Idempotent. */
  readonly close: () => void;
}

export interface Broker {
  readonly grant: (options: GrantOptions) => Grant;
}

interface GrantState {
  readonly deps: BrokerDeps;
  readonly options: GrantOptions;
  readonly limits: BrokerLimits;
  readonly usage: Usage;
  readonly endsAt: number;
  readonly redactorOf: (credentials: readonly Credential[]) => Redactor;
  readonly open: Set<Call>;
  isEnded: boolean;
}

/**
 * The way out for steps: what a step may call, as whom, and how much, on top of what the egress client refuses to
 * everybody (DESIGN section 6, SECURITY section 4). Credentials are added here at the last moment and never go the
 * other way.
 */
export function createBroker(deps: BrokerDeps): Broker {
  const limits = { ...DEFAULT_LIMITS, ...deps.limits };
  const redactorOf = createRedactors();
  return {
    grant: (options) => {
      const state: GrantState = {
        deps,
        options,
        limits,
        usage: createUsage(limits),
        endsAt: performance.now() + options.timeoutMs,
        redactorOf,
        open: new Set(),
        isEnded: false,
      };
      const end = (makeReason: () => StepError): void => {
        if (state.isEnded) return;
        state.isEnded = true;
        options.signal.removeEventListener('abort', onAbort);
        // Not made for the many steps that leave nothing open: an error takes longer than all the rest.
        for (const call of state.open) call.abort(makeReason());
      };
      const onAbort = (): void => end(cancelled);
      if (options.signal.aborted) onAbort();
      else options.signal.addEventListener('abort', onAbort, { once: true });
      return {
        fetch: (request) => fetch(state, request),
        request: (request) => requestWhole(state, request),
        close: () => end(stepEnded),
      };
    },
  };
}

const stepEnded = (): StepError =>
  terminalError('egress_denied', 'The step has ended; nothing is requested for it any more');
const cancelled = (): StepError => terminalError('cancelled', 'The request was cancelled');

function begin(state: GrantState, method: string, target: string, onOver: () => void): Call {
  const { deps, options, open } = state;
  if (state.isEnded) {
    deps.onRefusal('step_ended');
    throw stepEnded();
  }
  const call = startCall(
    { redactor: options.redactor, log: options.log, onRefusal: deps.onRefusal, span: options.span },
    method,
    target,
    () => {
      open.delete(call);
      onOver();
    },
  );
  open.add(call);
  return call;
}

async function requestWhole(state: GrantState, request: GrantRequest): Promise<EgressResponse> {
  const call = begin(state, request.method, request.url, () => {});
  try {
    const response = await within(call.span, () =>
      state.deps.egress.request({
        ...outgoing(state, call, request.credential, request.headers),
        method: request.method,
        url: request.url,
        ...(request.body === undefined ? {} : { body: request.body }),
        redirect: request.redirect,
        maxResponseBytes: request.maxResponseBytes,
      }),
    );
    call.locate(response.url);
    call.answered(response.status);
    call.countReceived(response.body.length);
    call.finish();
    return response;
  } catch (raw) {
    throw call.fail(raw);
  }
}

async function fetch(state: GrantState, request: BrokerRequest): Promise<BrokerResponse> {
  const { options, usage, limits } = state;
  if (usage.isExhausted()) throw limitError(limits, 'requests');
  let hasPlace = false;
  let body: RequestBody | undefined;
  let stream: EgressStream | undefined;
  const call = begin(state, request.method, request.target, () => {
    request.signal.removeEventListener('abort', onAbort);
    body?.stop();
    stream?.cancel();
    if (hasPlace) usage.leave();
  });
  const onAbort = (): void => call.abort(cancelled());
  try {
    usage.countRequest();
    if (request.signal.aborted) onAbort();
    else request.signal.addEventListener('abort', onAbort, { once: true });
    call.signal.throwIfAborted();

    call.expectDenial('credential_not_listed');
    const { url: target, credential } = resolveTarget(request.target, options.credentials);
    call.locate(target);
    call.expectDenial('url_denied');
    const url = checkUrl(target);
    permit(state, call, url);
    refuseOverride(credential, url);
    const { headers, announcedBytes } = requestHeaders(request.headers, url, credentialHeader(credential));

    await usage.enter(call.signal);
    if (call.signal.aborted) usage.leave();
    call.signal.throwIfAborted();
    hasPlace = true;
    body = bodyOf(state, call, request, announcedBytes);
    const prepared = await body?.prepare();
    stream = await within(call.span, () =>
      state.deps.egress.stream({
        ...outgoing(state, call, credential, headers),
        method: request.method,
        url: target,
        ...(prepared === undefined ? {} : { body: prepared }),
        redirect: request.redirect,
        maxResponseBytes: limits.responseBytes,
        tooLarge: () => limitError(limits, 'responseBytes'),
      }),
    );
    call.signal.throwIfAborted();
    call.locate(stream.url);
    call.answered(stream.status);
    const redactor = credential === undefined ? undefined : state.redactorOf([credential]);
    return brokerResponse(stream, { call, usage, redactor, isHead: request.method.toUpperCase() === 'HEAD' });
  } catch (raw) {
    stream?.cancel();
    throw call.fail(raw);
  }
}

/** What every request of a grant has in common. */
function outgoing(
  state: GrantState,
  call: Call,
  credential: Credential | undefined,
  headers: Readonly<Record<string, string>>,
): Pick<EgressRequest, 'headers' | 'signal' | 'timeoutMs' | 'permit' | 'authorize'> {
  const traceparent = call.span?.traceparent ?? state.options.traceparent;
  return {
    headers: traceparent === undefined ? headers : { ...headers, traceparent },
    signal: call.signal,
    timeoutMs: Math.max(1, Math.ceil(state.endsAt - performance.now())),
    permit: (url) => permit(state, call, url),
    ...(credential === undefined ? {} : { authorize: (url: URL) => authorizationFor(credential, url) }),
  };
}

/** Deny by default. @throws StepError `egress_denied` for a host that no rule and no credential of the step has */
function permit({ options }: GrantState, call: Call, url: URL): void {
  const { rules, credentials } = options;
  // From here on only its address can be denied.
  call.expectDenial('address_denied');
  if (rules === undefined || isAllowed(rules, url)) return;
  for (const credential of credentials.values()) {
    if (credential !== undefined && credential.type !== 'secret' && mayBeSentTo(credential, url)) return;
  }
  call.expectDenial('host_not_allowed');
  const rule = ruleFor(url);
  throw terminalError(
    'egress_denied',
    `This step may not call ${rule}: it is neither under its \`egress\` nor a host of its credentials; add it to the ` +
      `step: \`egress: [${/^[a-z0-9.:-]+$/.test(rule) ? rule : JSON.stringify(rule)}]\``,
  );
}

const credentialHeader = (credential: Credential | undefined): string | undefined =>
  credential === undefined || credential.type === 'secret' ? undefined : headerOf(credential);

/** A server may heed the first of two query parameters, which would be the code's. */
function refuseOverride(credential: Credential | undefined, url: URL): void {
  if (credential?.type !== 'api-key' || credential.data.in !== 'query') return;
  const { name } = credential.data;
  if (!url.searchParams.has(name)) return;
  throw terminalError(
    'invalid_input',
    `The query parameter \`${name}\` is set by the credential; leave it out of the request`,
  );
}

function bodyOf(
  { usage, limits }: GrantState,
  call: Call,
  { body }: BrokerRequest,
  announcedBytes: number | undefined,
): RequestBody | undefined {
  if (body === undefined) return undefined;
  if (announcedBytes !== undefined && announcedBytes > limits.requestBytes) {
    throw limitError(limits, 'requestBytes');
  }
  let bytes = 0;
  return createRequestBody(body, announcedBytes, (more) => {
    bytes += more;
    if (bytes > limits.requestBytes) throw limitError(limits, 'requestBytes');
    usage.countSent(more);
    call.countSent(more);
  });
}
