import { Router, type Request, type Response } from 'express';
import { appError } from '../../core/errors/app-error.ts';
import { traceIdOf } from '../../core/telemetry/traceparent.ts';
import { isAtLeast } from '../../core/tenants/roles.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import { principalOf } from '../middleware/authenticate.ts';
import { requestIdOf } from '../middleware/request-id.ts';
import { traceOf } from '../middleware/trace-requests.ts';
import { expressPath, type ApiRequest, type Operation, type Reply } from './operation.ts';
import { readApiBody, readQuery } from './read-request.ts';

/** Routes each operation: role, query and body are checked before its handler runs; other methods get 405. */
export function operationRouter(deps: ApiDeps, operations: readonly Operation[]): Router {
  const router = Router({ caseSensitive: true, strict: true });
  for (const operation of operations) {
    const querySchema = z.strictObject(operation.query ?? {});
    router[operation.method](expressPath(operation.path), async (req, res) => {
      res.locals['route'] = `/api/v1${operation.path}`;
      const principal = principalOf(res);
      if (!isAtLeast(principal.role, operation.role)) throw appError('forbidden');
      const query = readQuery(req.url, querySchema);
      const body =
        operation.body && (await readApiBody(req, operation.body, deps.settings.limits.maxBodyBytes));
      const requestId = requestIdOf(res);
      const trace = traceOf(res);
      const request: ApiRequest<string, Readonly<Record<string, unknown>>, unknown> = {
        requestId,
        principal,
        params: req.params as Readonly<Record<string, string>>, // no wildcards, so no lists
        query,
        body,
        headers: req.headers,
        get signal() {
          return signalOf(res, deps.stopping);
        },
        trace,
        log: deps.logger.child({
          requestId,
          traceId: traceIdOf(trace?.traceparent),
          operation: operation.id,
        }),
      };
      await sendReply(res, await operation.handle(deps, request));
    });
  }
  refuseOtherMethods(router, operations);
  return router;
}

function refuseOtherMethods(router: Router, operations: readonly Operation[]): void {
  const byPath = [...Map.groupBy(operations, (operation) => operation.path)];
  // `/deliveries/replay` before `/deliveries/{id}`, which matches it, too.
  const parameters = (path: string): number => path.split('{').length;
  for (const [path, methods] of byPath.sort(([a], [b]) => parameters(a) - parameters(b))) {
    const allowed = methods.flatMap(({ method }) =>
      method === 'get' ? ['GET', 'HEAD'] : method.toUpperCase(),
    );
    router.all(expressPath(path), (req: Request, res: Response) => {
      res.locals['route'] = `/api/v1${path}`;
      res.setHeader('allow', allowed.join(', '));
      throw appError('method_not_allowed', { args: [`${req.method}; use ${allowed.join(', ')}`] });
    });
  }
}

/** Aborted when the caller goes away before the answer is finished, or the process drains. */
function signalOf(res: Response, stopping: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (stopping.aborted || res.destroyed) abort();
  stopping.addEventListener('abort', abort, { once: true });
  res.once('close', () => {
    stopping.removeEventListener('abort', abort);
    abort();
  });
  return controller.signal;
}

async function sendReply(res: Response, reply: Reply): Promise<void> {
  if ('stream' in reply) {
    await reply.stream(res);
    return;
  }
  res.status(reply.status).setHeader('cache-control', 'no-store');
  if ('json' in reply) {
    if (reply.headers !== undefined) res.set(reply.headers);
    res.json(reply.json);
  } else if ('bytes' in reply) {
    res.set(reply.headers);
    res.end(reply.bytes);
  } else res.end();
}
