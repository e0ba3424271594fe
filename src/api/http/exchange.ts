import type { ServerResponse } from 'node:http';
import type { Span } from '../../core/telemetry/tracing.ts';

/** The caller went away before the answer was finished, as nginx counts it. */
const CLIENT_CLOSED_REQUEST = 499;

/** What an exchange that is over was answered with. */
export const statusOf = (res: Pick<ServerResponse, 'writableFinished' | 'statusCode'>): number =>
  res.writableFinished ? res.statusCode : CLIENT_CLOSED_REQUEST;

/** Statuses that Millrace answers by itself; a `respond` step may say any other. */
const OWN_STATUSES = [
  200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 499, 500, 503,
] as const;
const LABELS: ReadonlyMap<number, string> = new Map(OWN_STATUSES.map((status) => [status, String(status)]));

/** A status as a label of metrics: itself, or its class where workflows make statuses up. */
export const statusLabel = (status: number): string => LABELS.get(status) ?? `${Math.floor(status / 100)}xx`;

export function endServerSpan(span: Span | undefined, status: number): void {
  if (span === undefined) return;
  span.set({ 'http.response.status_code': status });
  if (status >= 500) span.fail(String(status));
  span.end();
}
