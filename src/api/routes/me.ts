import { withTenant } from '../../core/db/database.ts';
import { appError } from '../../core/errors/app-error.ts';
import { getApiKey } from '../../core/tenants/api-keys.ts';
import { ROLES } from '../../core/tenants/roles.ts';
import { currentTenant } from '../../core/tenants/store.ts';
import { z } from '../../core/zod.ts';
import { operation, type Operation } from '../http/operation.ts';
import { idShape, timeOrNull, timeShape } from './shapes.ts';

const meShape = z.object({
  tenant: z.object({ id: idShape, name: z.string() }),
  key: z.object({
    id: idShape,
    name: z.string(),
    prefix: z.string(),
    role: z.enum(ROLES),
    expiresAt: timeShape.nullable(),
  }),
});

export const meOperations: readonly Operation[] = [
  operation({
    id: 'getMe',
    method: 'get',
    path: '/me',
    tag: 'keys',
    summary: 'Tell who the API key acts for',
    role: 'viewer',
    params: {},
    replies: { 200: { description: 'The key and its tenant', schema: meShape } },
    errors: [],
    handle: async ({ db }, { principal }) => {
      const [tenant, key] = await withTenant(db, principal.tenantId, async (client) => [
        await currentTenant(client),
        await getApiKey(client, principal.keyId),
      ]);
      if (tenant === undefined || key === undefined) throw appError('unauthenticated');
      const { id, name, prefix, role } = key;
      const json: z.infer<typeof meShape> = {
        tenant,
        key: { id, name, prefix, role, expiresAt: timeOrNull(key.expiresAt) },
      };
      return { status: 200, json };
    },
  }),
];
