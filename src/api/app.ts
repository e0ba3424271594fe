import express, { type Express } from 'express';
import { appError } from '../core/errors/app-error.ts';
import type { ApiDeps } from './deps.ts';
import { createLookHub } from './http/look-hub.ts';
import { operationRouter } from './http/operation-router.ts';
import { authenticate, createKeyLookup } from './middleware/authenticate.ts';
import { cors } from './middleware/cors.ts';
import { handleErrors } from './middleware/handle-errors.ts';
import { observeRequests } from './middleware/observe-requests.ts';
import { requestId } from './middleware/request-id.ts';
import { securityHeaders } from './middleware/security-headers.ts';
import { traceRequests } from './middleware/trace-requests.ts';
import { createOperations } from './routes/operations.ts';

/** The API as an Express app. It never listens and never reads the environment. */
export function createApp(deps: ApiDeps): Express {
  const { settings, logger, admin } = deps;
  const app = express();
  app.set('case sensitive routing', true);
  app.set('strict routing', true);
  app.set('etag', false);
  app.set('query parser', false); // read-request.ts reads it strictly
  app.disable('x-powered-by');

  app.use(requestId());
  if (deps.onRequest !== undefined) app.use(observeRequests({ onRequest: deps.onRequest }));
  app.use('/hooks', deps.hooks);
  app.use(securityHeaders({ https: settings.publicUrl.startsWith('https:') }));
  if (admin !== undefined) {
    app.use(async (req, res, next) => {
      if (!(await admin(req, res))) next();
    });
  }
  const keys = createKeyLookup(deps.db);
  const hub = createLookHub({
    db: deps.db,
    maxFollowers: settings.limits.maxStreams,
    onError: (err) => logger.warn({ err }, 'executions could not be followed'),
  });
  const operations = createOperations({
    forgetKeys: () => keys.forget(),
    cursorSecret: settings.jwtSecret,
    hub,
  });
  if (deps.tracing !== undefined) app.use('/api/v1', traceRequests({ tracing: deps.tracing }));
  app.use(
    '/api/v1',
    cors({ allowedOrigins: settings.corsAllowedOrigins }),
    authenticate({ lookup: keys }),
    operationRouter(deps, operations),
  );
  app.use(() => {
    throw appError('not_found');
  });
  app.use(handleErrors({ logger }));
  return app;
}
