import type { RequestHandler, Response } from 'express';
import { validTraceparent } from '../../core/telemetry/traceparent.ts';
import type { Trace, Tracing } from '../../core/telemetry/tracing.ts';
import { endServerSpan, statusOf } from '../http/exchange.ts';

export interface TraceRequestsOptions {
  readonly tracing: Tracing;
}

/** Makes a span of each request whose trace is recorded, named by its route; what it does is below it. */
export function traceRequests({ tracing }: TraceRequestsOptions): RequestHandler {
  return function traceRequests(req, res, next) {
    const { method } = req;
    const trace = tracing.begin(method, validTraceparent(req.headers.traceparent), {
      kind: 'server',
      attributes: { 'http.request.method': method },
    });
    res.locals['trace'] = trace;
    const { span } = trace;
    if (span === undefined) {
      next();
      return;
    }
    res.once('close', () => {
      const route: unknown = res.locals['route'];
      if (typeof route === 'string') {
        span.rename(`${method} ${route}`);
        span.set({ 'http.route': route });
      }
      endServerSpan(span, statusOf(res));
    });
    span.run(next);
  };
}

/** Of the request that `res` answers; undefined where tracing is off. */
export function traceOf(res: Pick<Response, 'locals'>): Trace | undefined {
  return res.locals['trace'] as Trace | undefined; // only the middleware above sets it
}
