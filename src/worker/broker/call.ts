import { coerceError } from '../../core/errors/app-error.ts';
import type { Redactor } from '../../core/credentials/redact.ts';
import { StepError, retryableError } from '../../core/step-error.ts';
import type { Span } from '../../core/telemetry/tracing.ts';
import { refusalOf, type RefusalReason } from './refusals.ts';

export interface CallDeps {
  readonly redactor: Redactor;
  readonly log: (level: 'info' | 'warn', message: string) => void;
  readonly onRefusal: (reason: RefusalReason) => void;
  /** What it is part of, where that is recorded. */
  readonly span: Span | undefined;
}

/** One request of a step, from asking to the end of its response's body: its entry in the log, and how it fails. */
export interface Call {
  /** Aborted when it is to stop; the reason is a StepError. */
  readonly signal: AbortSignal;
  /** Of this request; it ends with it. */
  readonly span: Span | undefined;
  /** For the log: where it goes, as far as it is known by now. */
  locate(url: string): void;
  /** Which refusal an `egress_denied` would be from now on. */
  expectDenial(reason: RefusalReason): void;
  answered(status: number): void;
  countSent(bytes: number): void;
  countReceived(bytes: number): void;
  /** It is over, well; logged once. */
  finish(): void;
  /** It is over; what the caller gets to see, redacted. */
  fail(raw: unknown): StepError;
  /** Ends it from outside. */
  abort(reason: StepError): void;
}

/** @param onOver called once, at the end */
export function startCall(deps: CallDeps, method: string, target: string, onOver: () => void): Call {
  const abort = new AbortController();
  const startedAt = performance.now();
  const span = deps.span?.child('broker.request', {
    kind: 'client',
    attributes: {
      'http.request.method': KNOWN_METHODS.has(method.toUpperCase()) ? method.toUpperCase() : '_OTHER',
    },
  });
  let url = target;
  let denial: RefusalReason = 'url_denied';
  let status: number | undefined;
  let sent = 0;
  let received = 0;
  let isOver = false;

  const end = (level: 'info' | 'warn', outcome: string): void => {
    if (isOver) return;
    isOver = true;
    onOver();
    const place = placeOf(url);
    if (span !== undefined) describe(span, place);
    deps.log(level, oneLine(deps.redactor.text(`${method.slice(0, 20)} ${place} ${outcome}`)));
  };
  const describe = (own: Span, place: string): void => {
    own.set({
      'server.address': deps.redactor.text(hostOf(place)),
      'http.response.status_code': status,
      'http.request.body.size': sent,
      'http.response.body.size': received,
    });
    own.end();
  };
  const figures = (): string => {
    const milliseconds = Math.round(performance.now() - startedAt);
    return `(${sent > 0 ? `${sent} bytes sent, ` : ''}${received} bytes received, ${milliseconds} ms)`;
  };
  const fail = (raw: unknown): StepError => {
    // An abort shows itself in many ways; its reason is what happened.
    const error = redacted(toStepError(abort.signal.aborted ? abort.signal.reason : raw), deps.redactor);
    if (!isOver && !abort.signal.aborted) {
      const refusal = refusalOf(error, denial);
      if (refusal !== undefined) deps.onRefusal(refusal);
    }
    const answer = status === undefined ? '' : `answered ${status}, then `;
    if (!isOver) span?.fail(error.code);
    end('warn', `${answer}failed as ${error.code}: ${error.message} ${figures()}`);
    return error;
  };
  return {
    signal: abort.signal,
    span,
    locate: (found) => (url = found),
    expectDenial: (reason) => (denial = reason),
    answered: (answer) => (status = answer),
    countSent: (bytes) => (sent += bytes),
    countReceived: (bytes) => (received += bytes),
    finish: () => end('info', `answered ${status} ${figures()}`),
    fail,
    abort: (reason) => {
      if (isOver) return;
      abort.abort(reason);
      fail(reason);
    },
  };
}

const MAX_PLACE = 300;

/** A URL without what often should not be in a log: its query, and what is before `@`. */
function placeOf(url: string): string {
  const [bare = ''] = url.split(/[?#]/, 1);
  return bare.replace(/^([^:/]*:)?([/\\]*)[^/\\]*@/, '$1$2').slice(0, MAX_PLACE);
}

/** As the conventions for spans have them: what somebody made up is not told. */
const KNOWN_METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
]);

/** Of a URL as it is logged; a path may hold what is secret. */
const hostOf = (place: string): string => /^[a-z]+:\/\/([^/\\]+)/i.exec(place)?.[1] ?? 'unknown';

/** Methods and targets that are refused may hold anything. */
// oxlint-disable-next-line no-control-regex -- these are what to replace
const oneLine = (text: string): string => text.replaceAll(/[\x00-\x1f\x7f]/g, '?');

function toStepError(raw: unknown): StepError {
  if (raw instanceof StepError) return raw;
  const cause = coerceError(raw);
  return retryableError('connect_failed', 'The request failed inside the platform; it may be tried again', {
    cause,
  });
}

function redacted(error: StepError, redactor: Redactor): StepError {
  const message = redactor.text(error.message);
  if (message === error.message) return error;
  // Without its cause, which says the same again.
  return new StepError(error.code, message, {
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}
