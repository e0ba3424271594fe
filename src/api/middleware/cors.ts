import type { RequestHandler } from 'express';

export interface CorsOptions {
  /** Exact origins, e.g. `https://console.example.com`; empty: no browser of another origin gets an answer. */
  readonly allowedOrigins: readonly string[];
  readonly maxAgeS?: number;
}

const METHODS = 'GET, PUT, POST, DELETE';
const REQUEST_HEADERS = 'authorization, content-type, idempotency-key, last-event-id, x-request-id';
const RESPONSE_HEADERS = 'location, retry-after, x-request-id';

/**
 * Cross-origin access (Fetch standard) for listed origins. Keys travel in `Authorization`, so credentials mode is never
 * allowed. Answers preflight requests itself, before authentication, as they carry no key.
 */
export function cors(options: CorsOptions): RequestHandler {
  const allowed = new Set(options.allowedOrigins);
  return function cors(req, res, next) {
    res.vary('Origin');
    const { origin } = req.headers;
    const isAllowed = origin !== undefined && allowed.has(origin);
    if (isAllowed) {
      res.setHeader('access-control-allow-origin', origin);
      res.setHeader('access-control-expose-headers', RESPONSE_HEADERS);
    }
    const isPreflight =
      req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined;
    if (!isPreflight) {
      next();
      return;
    }
    if (isAllowed) {
      res.setHeader('access-control-allow-methods', METHODS);
      res.setHeader('access-control-allow-headers', REQUEST_HEADERS);
      res.setHeader('access-control-max-age', String(options.maxAgeS ?? 600));
    }
    res.status(204).end();
  };
}
