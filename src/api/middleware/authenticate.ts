import type { RequestHandler, Response } from 'express';
import { createLoadingCache } from '../../core/cache.ts';
import { appError } from '../../core/errors/app-error.ts';
import { API_KEY_PATTERN, findPrincipal, hashApiKey, type Principal } from '../../core/tenants/api-keys.ts';
import type { Database } from '../../core/db/database.ts';

/** How long a revoked key may still be taken (SECURITY section 3: at most 5 s on every replica). */
const KEY_TTL_MS = 4_000;
const MAX_KEYS = 10_000;

export interface KeyLookup {
  /** The principal behind a key. @throws AppError `unauthenticated` when there is none */
  (key: string): Promise<Principal>;
  /** Forgets what it knows, after this process has revoked a key. */
  forget(): void;
}

/** Looks keys up by their hash; what is found is remembered for a few seconds, what is not found is not. */
export function createKeyLookup(db: Database): KeyLookup {
  const cache = createLoadingCache<string, Principal>({
    maxEntries: MAX_KEYS,
    maxAgeMs: KEY_TTL_MS,
    load: async (hash) => {
      const principal = await findPrincipal(db, Buffer.from(hash, 'hex'));
      if (principal === undefined) throw appError('unauthenticated');
      return principal;
    },
  });
  const lookup = async (key: string): Promise<Principal> => {
    if (!API_KEY_PATTERN.test(key)) throw appError('unauthenticated');
    return cache.get(hashApiKey(key).toString('hex'));
  };
  return Object.assign(lookup, { forget: () => cache.forget(() => true) });
}

export interface AuthenticateOptions {
  readonly lookup: (key: string) => Promise<Principal>;
}

const BEARER = /^Bearer +(\S+)$/i;

/**
 * Lets only requests with a valid API key through, taken from `Authorization: Bearer` and nowhere else (a key in a URL
 * ends up in logs). Whatever is wrong, the answer is the same 401, and there is no default tenant.
 */
export function authenticate(options: AuthenticateOptions): RequestHandler {
  return async function authenticate(req, res, next) {
    const key = BEARER.exec(req.headers.authorization ?? '')?.[1];
    if (key === undefined) throw appError('unauthenticated');
    res.locals['principal'] = await options.lookup(key);
    next();
  };
}

/** Who the request that `res` answers acts for. Only behind {@link authenticate}. */
export function principalOf(res: Pick<Response, 'locals'>): Principal {
  const principal = res.locals['principal'] as Principal | undefined;
  if (principal === undefined) throw appError('unauthenticated');
  return principal;
}
