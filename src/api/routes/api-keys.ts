import { withTenant } from '../../core/db/database.ts';
import { appError } from '../../core/errors/app-error.ts';
import {
  getApiKey,
  hasOtherOwnerKey,
  insertApiKey,
  listApiKeys,
  makeApiKey,
  revokeApiKey,
  type ApiKey,
} from '../../core/tenants/api-keys.ts';
import { isAtLeast, ROLES } from '../../core/tenants/roles.ts';
import { z } from '../../core/zod.ts';
import { operation, type Operation } from '../http/operation.ts';
import { isId, shown } from '../http/params.ts';
import { idShape, timeOf, timeOrNull, timeShape } from './shapes.ts';

const apiKeyShape = z.object({
  id: idShape,
  name: z.string(),
  prefix: z.string().describe('The first characters of the key'),
  role: z.enum(ROLES),
  createdAt: timeShape,
  expiresAt: timeShape.nullable(),
  revokedAt: timeShape.nullable(),
});
const newApiKeyShape = apiKeyShape.extend({
  key: z.string().describe('The key itself, shown this once; only its hash is kept'),
});

const apiKeyBody = z.strictObject({
  name: z
    .string()
    .min(1, { error: 'must not be empty' })
    .max(100, { error: 'must be at most 100 characters' })
    .regex(/^\P{Cc}*$/u, { error: 'must hold no control characters' })
    .describe('What the key is for'),
  role: z.enum(ROLES),
  expiresAt: z.iso
    .datetime({ offset: true, error: 'must be an RFC 3339 time, such as 2027-01-31T00:00:00Z' })
    .nullish()
    .describe('When it stops working; never without it'),
});

const toShape = (key: ApiKey): z.infer<typeof apiKeyShape> => ({
  id: key.id,
  name: key.name,
  prefix: key.prefix,
  role: key.role,
  createdAt: timeOf(key.createdAt),
  expiresAt: timeOrNull(key.expiresAt),
  revokedAt: timeOrNull(key.revokedAt),
});

/** @param forgetKeys makes this process look all keys up anew */
export const apiKeyOperations = (forgetKeys: () => void): readonly Operation[] => [
  operation({
    id: 'createApiKey',
    method: 'post',
    path: '/api-keys',
    tag: 'keys',
    summary: 'Make an API key',
    role: 'admin',
    params: {},
    body: { schema: apiKeyBody },
    replies: { 201: { description: 'The key, shown this once', schema: newApiKeyShape } },
    errors: [],
    handle: async ({ db, clock }, { principal, body, log }) => {
      // A key makes no key that may do more than itself.
      if (!isAtLeast(principal.role, body.role)) throw appError('forbidden');
      const expiresAt =
        body.expiresAt === undefined || body.expiresAt === null ? null : new Date(body.expiresAt);
      if (expiresAt !== null && expiresAt.getTime() <= clock.now()) {
        const problem = {
          path: 'expiresAt',
          message: 'is in the past',
          fix: 'give a later time, or leave it out',
        };
        throw appError('invalid_request', { args: ['expiresAt is in the past'], problems: [problem] });
      }
      const key = makeApiKey();
      const made = await withTenant(db, principal.tenantId, (client) =>
        insertApiKey(client, {
          tenantId: principal.tenantId,
          name: body.name,
          role: body.role,
          key,
          expiresAt,
        }),
      );
      log.info({ keyId: made.id, role: made.role, byKeyId: principal.keyId }, 'API key made');
      const json: z.infer<typeof newApiKeyShape> = { ...toShape(made), key };
      return { status: 201, json };
    },
  }),
  operation({
    id: 'listApiKeys',
    method: 'get',
    path: '/api-keys',
    tag: 'keys',
    summary: 'List the API keys, revoked ones included',
    role: 'admin',
    params: {},
    replies: {
      200: { description: 'All keys, newest first', schema: z.object({ items: z.array(apiKeyShape) }) },
    },
    errors: [],
    handle: async ({ db }, { principal }) => {
      const keys = await withTenant(db, principal.tenantId, listApiKeys);
      return { status: 200, json: { items: keys.map(toShape) } };
    },
  }),
  operation({
    id: 'revokeApiKey',
    method: 'delete',
    path: '/api-keys/{id}',
    tag: 'keys',
    summary: 'Revoke an API key',
    role: 'admin',
    params: { id: 'Id of the key' },
    replies: { 204: { description: 'It works no more: here at once, on other replicas within 5 s' } },
    errors: ['api_key_not_found', 'api_key_last_owner'],
    handle: async ({ db }, { principal, params, log }) => {
      const notFound = appError('api_key_not_found', { args: [shown(params.id)] });
      if (!isId(params.id)) throw notFound;
      await withTenant(db, principal.tenantId, async (client) => {
        const key = await getApiKey(client, params.id);
        if (key === undefined) throw notFound;
        if (!isAtLeast(principal.role, key.role)) throw appError('forbidden');
        if (key.role === 'owner' && key.revokedAt === null && !(await hasOtherOwnerKey(client, key.id))) {
          throw appError('api_key_last_owner', { args: [key.id] });
        }
        await revokeApiKey(client, key.id);
      });
      forgetKeys();
      log.info({ keyId: params.id, byKeyId: principal.keyId }, 'API key revoked');
      return { status: 204 };
    },
  }),
];
