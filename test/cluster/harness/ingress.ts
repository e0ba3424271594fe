import { request } from 'node:https';
import { connect } from 'node:tls';
import { waitFor } from '../../support/wait-for.ts';

/** What came back through an Ingress. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The way from outside: TLS with the certificate of a host, at the address of the Ingress controller. */
export interface Front {
  readonly address: string;
  /** Authorities in PEM; nothing else is trusted. */
  readonly ca: readonly string[];
}

/** @throws when the certificate is not the host's */
export function ask(
  { address, ca }: Front,
  host: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body = '',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: address,
        port: 443,
        servername: host,
        ca: [...ca],
        method,
        path,
        agent: false,
        timeout: 20_000,
        headers: {
          host,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          ...headers,
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        response.on('error', reject);
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`${host}${path} did not answer`)));
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Sends bytes as they are, and gives back all that comes until the connection ends or nothing more comes. */
export function sendRaw(
  { address, ca }: Front,
  host: string,
  parts: readonly (string | Buffer)[],
  quietMs = 1500,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host: address, port: 443, servername: host, ca: [...ca] }, () => {
      for (const part of parts) socket.write(part);
    });
    socket.setTimeout(quietMs, () => socket.destroy());
    socket.on('data', (chunk) => (text += chunk.toString('latin1')));
    socket.on('close', () => resolve(text));
    // What closes a connection in the middle of an attack may do so hard.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
  });
}

/** Waits until a host is served with its own certificate. */
export const served = (front: Front, host: string): Promise<Answer> =>
  waitFor(() => ask(front, host, 'GET', '/nothing-here').catch(() => undefined), {
    timeoutMs: 60_000,
    intervalMs: 500,
    what: `the certificate of ${host} to be served`,
  });
