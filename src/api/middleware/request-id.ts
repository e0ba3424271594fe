import { randomUUID } from 'node:crypto';
import type { RequestHandler, Response } from 'express';

const HEADER = 'x-request-id';
/** Fit for a log line and a header; anything else is replaced. */
const ACCEPTABLE = /^[A-Za-z0-9][A-Za-z0-9._-]{7,127}$/;

export interface RequestIdOptions {
  readonly makeId?: () => string;
}

/** Gives each request an id (the caller's `X-Request-Id` if it is a sane one) and echoes it in the response. */
export function requestId(options: RequestIdOptions = {}): RequestHandler {
  const { makeId = randomUUID } = options;
  return function requestId(req, res, next) {
    const given = req.headers[HEADER];
    const id = typeof given === 'string' && ACCEPTABLE.test(given) ? given : makeId();
    res.locals['requestId'] = id;
    res.setHeader(HEADER, id);
    next();
  };
}

/** The id of the request that `res` answers. */
export function requestIdOf(res: Pick<Response, 'locals'>): string {
  const id: unknown = res.locals['requestId'];
  return typeof id === 'string' ? id : 'unknown';
}
