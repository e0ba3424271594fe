import type { ServerResponse } from 'node:http';
import type { IngestOutcome } from '../../core/deliveries/ingest.ts';
import type { RenderedResponse } from '../../core/definition/steps/respond.ts';
import { appError } from '../../core/errors/app-error.ts';
import type { ExecutionSnapshot } from '../../core/executions/watch.ts';

export function answerJson(res: ServerResponse, status: number, value: unknown): void {
  answerText(res, status, 'application/json', JSON.stringify(value));
}

function answerText(
  res: ServerResponse,
  status: number,
  contentType: string,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  res.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  res.end(text);
}

/**
 * Answers a `respond: result` webhook: what a `respond` step said, else the output of an execution that succeeded, a
 * problem for one that did not, and a plain 202 when it has not ended in time.
 *
 * @throws AppError `execution_failed`
 */
export function answerResult(
  res: ServerResponse,
  outcome: IngestOutcome,
  snapshot: ExecutionSnapshot | undefined,
): void {
  if (snapshot === undefined) {
    answerJson(res, 202, outcome);
  } else if (snapshot.responseJson !== null) {
    // The engine stored what `renderRespond` made.
    answerRendered(res, JSON.parse(snapshot.responseJson) as RenderedResponse);
  } else if (snapshot.state === 'succeeded') {
    answerText(res, 200, 'application/json', snapshot.outputJson ?? 'null');
  } else {
    throw appError('execution_failed', { extensions: { executionId: snapshot.id } });
  }
}

function answerRendered(res: ServerResponse, response: RenderedResponse): void {
  const { status, body } = response;
  const isText = typeof body === 'string';
  const headers = Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const contentType = headers['content-type'] ?? (isText ? 'text/plain; charset=utf-8' : 'application/json');
  const text = body === null ? '' : isText ? body : JSON.stringify(body);
  answerText(res, status, contentType, status === 204 || status === 304 ? '' : text, {
    ...headers,
    // It is the workflow's content on the platform's origin: a browser is to treat it as a stranger's.
    'content-security-policy': 'sandbox',
  });
}
