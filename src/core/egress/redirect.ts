import { terminalError } from '../step-error.ts';
import { isStreamed, type StreamedBody } from './outgoing-body.ts';
import { crossOriginHeaders, type Headers } from './request-rules.ts';

/** One request of a chain of redirects. */
export interface Hop {
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  readonly body: Buffer | StreamedBody | undefined;
}

const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const BODY_HEADERS = ['content-encoding', 'content-language', 'content-location', 'content-type'];

/** Whether a response asks for another request (one without a Location is an ordinary answer). */
export const isRedirect = (status: number, location: string | undefined): boolean =>
  REDIRECT_STATUSES.has(status) && location !== undefined;

/**
 * The request a redirect asks for, as fetch would make it (https://fetch.spec.whatwg.org/#http-redirect-fetch): 303,
 * and 301 or 302 after POST, become GET without the body. Another origin gets only headers that carry no credential.
 * Whether the new URL may be reached at all is not decided here.
 *
 * @throws StepError `redirect_denied` for a Location that is no URL, or that leaves https, and where a body would have
 *   to be sent again that was streamed
 */
export function nextHop(hop: Hop, status: number, location: string): Hop {
  const url = URL.parse(location, hop.url.href);
  if (url === null)
    throw terminalError('redirect_denied', `${hop.url.host} redirects to something that is no URL`);
  if (hop.url.protocol === 'https:' && url.protocol === 'http:') {
    throw terminalError(
      'redirect_denied',
      `${hop.url.host} redirects from https to http (${url.host}), which would send the request in plain text; ` +
        'call the http URL itself if that is meant',
    );
  }
  const isBodyDropped =
    (status === 303 && hop.method !== 'GET' && hop.method !== 'HEAD') ||
    ((status === 301 || status === 302) && hop.method === 'POST');
  if (!isBodyDropped && isStreamed(hop.body)) {
    throw terminalError(
      'redirect_denied',
      `${hop.url.host} redirects to ${url.host} with ${status}, which asks for the body again, but it was streamed and ` +
        'cannot be sent twice; send the request to where it redirects to',
    );
  }
  const headers = new Map(url.origin === hop.url.origin ? hop.headers : crossOriginHeaders(hop.headers));
  if (isBodyDropped) for (const name of BODY_HEADERS) headers.delete(name);
  return {
    url,
    method: isBodyDropped ? 'GET' : hop.method,
    headers,
    body: isBodyDropped ? undefined : hop.body,
  };
}
