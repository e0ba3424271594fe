import type { RequestHandler } from 'express';
import type { RequestObservation } from '../deps.ts';
import { statusOf } from '../http/exchange.ts';
import { traceOf } from './trace-requests.ts';

export interface ObserveRequestsOptions {
  readonly onRequest: (observation: RequestObservation) => void;
  /** A monotonic clock in milliseconds. */
  readonly now?: () => number;
}

/** Reports each exchange once it is over, also when the caller went away before the answer. */
export function observeRequests(options: ObserveRequestsOptions): RequestHandler {
  const { now = () => performance.now() } = options;
  return function observeRequests(req, res, next) {
    const startedAt = now();
    res.once('close', () => {
      const route: unknown = res.locals['route'];
      options.onRequest({
        route: typeof route === 'string' ? route : 'other',
        method: req.method,
        status: statusOf(res),
        durationMs: now() - startedAt,
        traceId: traceOf(res)?.span?.traceId,
      });
    });
    next();
  };
}
