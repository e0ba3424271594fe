import {
  deleteCredential,
  getCredentialInfo,
  listCredentials,
  lockCredential,
  putCredential,
  type CredentialInfo,
} from '../../core/credentials/store.ts';
import { CREDENTIAL_TYPES, credentialNameSchema, credentialSchema } from '../../core/credentials/types.ts';
import { withTenant } from '../../core/db/database.ts';
import { appError } from '../../core/errors/app-error.ts';
import { workflowsUsingCredential } from '../../core/workflows/credential-use.ts';
import { z } from '../../core/zod.ts';
import { operation, type Operation } from '../http/operation.ts';
import { shown } from '../http/params.ts';
import { problemsOf } from '../http/read-request.ts';
import { timeOf, timeShape } from './shapes.ts';

const credentialShape = z.object({
  name: z.string(),
  type: z.enum(CREDENTIAL_TYPES),
  createdAt: timeShape,
  updatedAt: timeShape,
});

/** The envelope; what is inside is checked by `credentialSchema`, whose problems are 422. */
const credentialEnvelope = z.strictObject({ type: z.string(), data: z.record(z.string(), z.unknown()) });

const toShape = (info: CredentialInfo): z.infer<typeof credentialShape> => ({
  name: info.name,
  type: info.type,
  createdAt: timeOf(info.createdAt),
  updatedAt: timeOf(info.updatedAt),
});

const notFound = (name: string) => appError('credential_not_found', { args: [shown(name)] });
const isName = (name: string): boolean => credentialNameSchema.safeParse(name).success;
const nameParam = { name: 'Name of the credential' };

export const credentialOperations: readonly Operation[] = [
  operation({
    id: 'putCredential',
    method: 'put',
    path: '/credentials/{name}',
    tag: 'credentials',
    summary: 'Make or replace a credential',
    role: 'admin',
    params: nameParam,
    body: { schema: credentialEnvelope, documentedAs: credentialSchema },
    replies: {
      200: { description: 'Replaced', schema: credentialShape },
      201: { description: 'Made', schema: credentialShape },
    },
    errors: ['credential_invalid'],
    handle: async ({ db, cipher, invalidateCredential }, { principal, params, body, log }) => {
      const { name } = params;
      const checkedName = credentialNameSchema.safeParse(name);
      const credential = credentialSchema.safeParse(body);
      if (!checkedName.success || !credential.success) {
        const problems = [
          ...(checkedName.success ? [] : problemsOf(checkedName.error, 'name', name)),
          ...(credential.success ? [] : problemsOf(credential.error, '', body)),
        ];
        const text = problems.map(({ path, message }) => `${path} ${message}`).join('; ');
        throw appError('credential_invalid', { args: [shown(name), text], problems });
      }
      const stored = await withTenant(db, principal.tenantId, (client) =>
        putCredential({ db: client, cipher }, principal.tenantId, name, credential.data),
      );
      invalidateCredential(principal.tenantId, name);
      log.info({ credential: name, byKeyId: principal.keyId }, 'credential stored');
      return { status: stored.created ? 201 : 200, json: toShape(stored) };
    },
  }),
  operation({
    id: 'listCredentials',
    method: 'get',
    path: '/credentials',
    tag: 'credentials',
    summary: 'List the credentials, without their values',
    role: 'viewer',
    params: {},
    replies: { 200: { description: 'All, by name', schema: z.object({ items: z.array(credentialShape) }) } },
    errors: [],
    handle: async ({ db }, { principal }) => {
      const infos = await withTenant(db, principal.tenantId, (client) =>
        listCredentials(client, principal.tenantId),
      );
      return { status: 200, json: { items: infos.map(toShape) } };
    },
  }),
  operation({
    id: 'getCredential',
    method: 'get',
    path: '/credentials/{name}',
    tag: 'credentials',
    summary: 'Get a credential, without its values',
    role: 'viewer',
    params: nameParam,
    replies: { 200: { description: 'The credential', schema: credentialShape } },
    errors: ['credential_not_found'],
    handle: async ({ db }, { principal, params }) => {
      if (!isName(params.name)) throw notFound(params.name);
      const info = await withTenant(db, principal.tenantId, (client) =>
        getCredentialInfo(client, principal.tenantId, params.name),
      );
      if (info === undefined) throw notFound(params.name);
      return { status: 200, json: toShape(info) };
    },
  }),
  operation({
    id: 'deleteCredential',
    method: 'delete',
    path: '/credentials/{name}',
    tag: 'credentials',
    summary: 'Delete a credential that no current version of a workflow uses',
    role: 'admin',
    params: nameParam,
    replies: { 204: { description: 'Deleted' } },
    errors: ['credential_not_found', 'credential_in_use'],
    handle: async ({ db, invalidateCredential }, { principal, params, log }) => {
      const { name } = params;
      if (!isName(name)) throw notFound(name);
      await withTenant(db, principal.tenantId, async (client) => {
        if (!(await lockCredential(client, principal.tenantId, name))) throw notFound(name);
        const users = await workflowsUsingCredential(client, name);
        if (users.length > 0) throw appError('credential_in_use', { args: [name, users.join(', ')] });
        await deleteCredential(client, principal.tenantId, name);
      });
      invalidateCredential(principal.tenantId, name);
      log.info({ credential: name, byKeyId: principal.keyId }, 'credential deleted');
      return { status: 204 };
    },
  }),
];
