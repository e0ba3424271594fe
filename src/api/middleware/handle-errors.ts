import type { ErrorRequestHandler } from 'express';
import type { Logger } from 'pino';
import { traceIdOf } from '../../core/telemetry/traceparent.ts';
import { sendProblem, statusOf, toAppError } from '../http/problem.ts';
import { requestIdOf } from './request-id.ts';
import { traceOf } from './trace-requests.ts';

export interface HandleErrorsOptions {
  readonly logger: Logger;
}

/** Answers whatever was thrown with a problem document; what is our fault is logged with the request's id. */
export function handleErrors(options: HandleErrorsOptions): ErrorRequestHandler {
  return function handleErrors(raw, req, res, _next) {
    const error = toAppError(raw);
    const requestId = requestIdOf(res);
    const status = statusOf(error.code);
    if (status >= 500) {
      const fields = {
        requestId,
        traceId: traceIdOf(traceOf(res)?.traceparent),
        method: req.method,
        route: res.locals['route'],
        code: error.code,
        err: error,
      };
      if (status === 503) options.logger.warn(fields, 'request refused');
      else options.logger.error(fields, 'request failed');
    }
    sendProblem(res, error, requestId);
  };
}
