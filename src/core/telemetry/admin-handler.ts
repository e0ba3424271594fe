import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError, coerceError } from '../errors/app-error.ts';
import type { Registries } from './registries.ts';

/**
 * Resolves when what it checks is fit, with a word on it if there is something to say; rejects when it is not. Only the
 * message of an `AppError` is shown, since anybody may ask.
 */
export type ReadinessCheck = () => Promise<string | undefined>;

export interface AdminHandlerOptions {
  readonly checks: Readonly<Record<string, ReadinessCheck>>;
  /** True once the process takes no new work; it is then not ready, but alive. */
  readonly isDraining: () => boolean;
  readonly metrics: Pick<Registries, 'page'>;
  /** Told of checks that fail, with what must not be shown. */
  readonly onCheckFailed: (name: string, error: Error) => void;
  /** A check that takes longer counts as failed. */
  readonly checkTimeoutMs?: number;
}

/** Answers `/health/live`, `/health/ready` and `/metrics`; resolves to false, having done nothing, for all else. */
export type AdminHandler = (req: IncomingMessage, res: ServerResponse) => Promise<boolean>;

interface CheckResult {
  readonly status: 'ok' | 'failed';
  readonly detail?: string;
}

export function createAdminHandler(options: AdminHandlerOptions): AdminHandler {
  const { checkTimeoutMs = 2_000 } = options;

  const runCheck = async (name: string, check: ReadinessCheck): Promise<readonly [string, CheckResult]> => {
    const timeout = new AbortController();
    try {
      const detail = await Promise.race([
        check(),
        delay(checkTimeoutMs, undefined, { signal: timeout.signal, ref: false }).then(() => {
          throw new Error(`no answer within ${checkTimeoutMs} ms`);
        }),
      ]);
      return [name, { status: 'ok', ...(detail !== undefined && { detail }) }];
    } catch (raw) {
      const error = coerceError(raw);
      options.onCheckFailed(name, error);
      return [name, { status: 'failed', ...(error instanceof AppError && { detail: error.message }) }];
    } finally {
      timeout.abort();
    }
  };

  const readiness = async (): Promise<Answer> => {
    if (options.isDraining()) return json(503, { status: 'draining' });
    const results = await Promise.all(
      Object.entries(options.checks).map(([name, check]) => runCheck(name, check)),
    );
    const ready = results.every(([, result]) => result.status === 'ok');
    return json(ready ? 200 : 503, {
      status: ready ? 'ready' : 'not_ready',
      checks: Object.fromEntries(results),
    });
  };

  const routes: Readonly<Record<string, (req: IncomingMessage) => Promise<Answer>>> = {
    '/health/live': async () => json(200, { status: 'live' }),
    '/health/ready': readiness,
    '/metrics': async (req) => ({ status: 200, ...(await options.metrics.page(req.headers.accept)) }),
  };

  return async (req, res) => {
    const path = (req.url ?? '').split('?', 1)[0]!; // split gives at least one part
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route === undefined) return false;
    const isRead = req.method === 'GET' || req.method === 'HEAD';
    const answer = isRead ? await route(req) : json(405, { status: 'method_not_allowed' });
    res.writeHead(answer.status, {
      'content-type': answer.contentType,
      'cache-control': 'no-store',
      'content-length': Buffer.byteLength(answer.body),
      ...(!isRead && { allow: 'GET, HEAD' }),
    });
    res.end(req.method === 'HEAD' ? undefined : answer.body);
    return true;
  };
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const json = (status: number, value: unknown): Answer => ({
  status,
  contentType: 'application/json; charset=utf-8',
  body: JSON.stringify(value),
});
