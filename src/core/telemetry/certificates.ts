import { TLSSocket, connect } from 'node:tls';
import { coerceError } from '../errors/app-error.ts';
import type { CERTIFICATES, Metrics } from './metrics.ts';

const CONNECT_TIMEOUT_MS = 5000;
const LOOK_EVERY_MS = 3_600_000;

/** When the certificate of the other side ends, in milliseconds since the epoch; undefined without TLS. */
export function certificateEndOf(socket: unknown): number | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const end = Date.parse(socket.getPeerCertificate().valid_to);
  return Number.isNaN(end) ? undefined : end;
}

/** Sets the metric of a certificate that a connection showed, if it did. */
export function noteCertificate(
  { certificateExpiry }: Pick<Metrics, 'certificateExpiry'>,
  name: (typeof CERTIFICATES)[number],
  socket: unknown,
): void {
  const endMs = certificateEndOf(socket);
  if (endMs !== undefined) certificateExpiry.set({ name }, endMs / 1000);
}

export interface CertificateWatchOptions {
  readonly publicUrl: string;
  readonly publicHooksUrl: string;
  readonly metrics: Pick<Metrics, 'certificateExpiry'>;
  readonly onError: (error: Error, url: string) => void;
}

/**
 * Looks every hour at the certificates that callers are shown; one that has ended counts, too. A server that has both
 * addresses has one certificate.
 *
 * @returns stops it
 */
export function watchCertificates({
  publicUrl,
  publicHooksUrl,
  metrics,
  onError,
}: CertificateWatchOptions): () => void {
  const [own, hooks] = [new URL(publicUrl), new URL(publicHooksUrl)];
  const addresses = [
    ['public_url', own],
    ...(hooks.origin === own.origin ? [] : [['public_hooks_url', hooks] as const]),
  ] as const;
  const secured = addresses.filter(([, { protocol }]) => protocol === 'https:');
  if (secured.length === 0) return () => {};
  const lookAt = (name: (typeof CERTIFICATES)[number], { hostname, port, href }: URL): void => {
    const socket = connect({
      host: hostname,
      port: port === '' ? 443 : Number(port),
      servername: hostname,
      rejectUnauthorized: false, // nothing is sent; only when it ends is of interest
      timeout: CONNECT_TIMEOUT_MS,
    });
    socket.once('secureConnect', () => {
      noteCertificate(metrics, name, socket);
      socket.destroy();
    });
    socket.once('timeout', () => socket.destroy(new Error(`no answer within ${CONNECT_TIMEOUT_MS} ms`)));
    socket.once('error', (raw) => onError(coerceError(raw), href));
  };
  const look = (): void => secured.forEach(([name, url]) => lookAt(name, url));
  look();
  const timer = setInterval(look, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
