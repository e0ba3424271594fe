import { z } from '../../../core/zod.ts';
import type { IssuedCertificate } from './x509.ts';

const DAY_MS = 86_400_000;
export const VALID_MS = 90 * DAY_MS;
/** Before the end of the one in use. */
const RENEWED_BEFORE_MS = 30 * DAY_MS;
/** Until every runner trusts a new one: the kubelet brings a changed ConfigMap to its pods in a minute or two. */
const ANNOUNCED_FOR_MS = 900_000;

const issuedSchema = z.object({ authority: z.string(), certificate: z.string(), key: z.string() });
export const certificatesSchema = z.object({
  current: issuedSchema.extend({ validToMs: z.number() }),
  /** The one after it, already trusted and not in use yet. */
  next: issuedSchema.extend({ validToMs: z.number(), announcedAtMs: z.number() }).optional(),
  /** The authority of the one before, which other workers may use for another minute. */
  previousAuthority: z.string().optional(),
});
/** All that workers share of the gateway's identity. */
export type Certificates = z.infer<typeof certificatesSchema>;

/**
 * What is to be stored now: what there is, unless something is due.
 *
 * A new certificate is announced first, so that every runner trusts it, and used a while later: no runner is refused
 * while it changes.
 */
export function planCertificates(
  stored: Certificates | undefined,
  nowMs: number,
  issue: () => IssuedCertificate,
): Certificates {
  if (stored === undefined || stored.current.validToMs <= nowMs) {
    return { current: { ...issue(), validToMs: nowMs + VALID_MS } };
  }
  const { current, next } = stored;
  if (next !== undefined) {
    if (nowMs - next.announcedAtMs < ANNOUNCED_FOR_MS) return stored;
    const { announcedAtMs: _, ...used } = next;
    return { current: used, previousAuthority: current.authority };
  }
  if (current.validToMs - nowMs > RENEWED_BEFORE_MS) return stored;
  return { ...stored, next: { ...issue(), validToMs: nowMs + VALID_MS, announcedAtMs: nowMs } };
}

/** PEM of every authority that runners have to trust. */
export const trustedAuthorities = ({ current, next, previousAuthority }: Certificates): string =>
  [current.authority, next?.authority, previousAuthority].filter((pem) => pem !== undefined).join('');
