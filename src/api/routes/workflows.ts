import { machineOf, pythonTarget } from '../../core/bundle/wheel-name.ts';
import { withTenant } from '../../core/db/database.ts';
import { appError } from '../../core/errors/app-error.ts';
import { cancelExecutionsOfWorkflow } from '../../core/executions/lifecycle.ts';
import {
  checkDeployment,
  deployWorkflow,
  restoreVersion,
  type Deployed,
  type DeployDeps,
} from '../../core/workflows/deploy.ts';
import {
  endpointsOf,
  FILE_DETAILS,
  getVersion,
  getWorkflow,
  listVersions,
  listWorkflows,
  lockWorkflow,
  markWorkflowDeleted,
  setWorkflowEnabled,
  type FileDetail,
} from '../../core/workflows/store.ts';
import { z } from '../../core/zod.ts';
import type { ApiDeps } from '../deps.ts';
import type { Cursors } from '../http/cursor.ts';
import { operation, type Operation } from '../http/operation.ts';
import { booleanParam, cursorParam, limitParam, shown } from '../http/params.ts';
import { isKebabName } from '../../core/definition/names.ts';
import { pageOf, pageShape } from './shapes.ts';
import {
  deployedShape,
  toTriggers,
  toVersionSummary,
  toWorkflow,
  versionShape,
  versionSummaryShape,
  workflowShape,
  workflowSummaryShape,
} from './workflow-shapes.ts';

/** Of a workflow with its files, inflated (DESIGN section 7). */
const MAX_DEPLOY_BYTES = 80 * 1024 * 1024;

const nameParam = { name: 'Name of the workflow' };
const versionParams = { ...nameParam, n: 'Number of the version' };

const fileShape = z.union([z.string(), z.strictObject({ base64: z.base64() })], {
  error: 'must be the text of the file, or {"base64": "…"}',
});
const deployBody = z.strictObject({
  definition: z.string().describe('The workflow document, in YAML'),
  files: z.record(z.string(), fileShape).default({}).describe('Path → content, as text or {"base64": …}'),
});

const filesParam = z
  .enum(FILE_DETAILS)
  .default('content')
  .describe('What is told of each file: its content, or its SHA-256 and size only');

const workflowNotFound = (name: string) => appError('workflow_not_found', { args: [shown(name)] });

/** The number of a version; undefined for what cannot be one. */
const versionNumber = (text: string): number | undefined =>
  /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;

/** API and workers run on machines of one kind. */
const PYTHON = pythonTarget(machineOf(process.arch));

const deployDeps = ({ db, cipher, bundler, settings: { limits } }: ApiDeps): DeployDeps => ({
  db,
  cipher,
  bundler,
  pythonTarget: PYTHON,
  maxExecutionTimeS: limits.maxExecutionTimeS,
  maxResources: limits.maxResources,
});

const toDeployed = ({ settings }: ApiDeps, deployed: Deployed): z.infer<typeof deployedShape> => ({
  name: deployed.name,
  version: deployed.version,
  contentHash: deployed.contentHash,
  triggers: toTriggers(settings.publicHooksUrl, deployed.triggers),
  warnings: [...deployed.warnings],
});

/** Names that cannot be one are not asked for: nothing has them. */
async function requireWorkflow<T>(
  { db }: ApiDeps,
  tenantId: string,
  name: string,
  work: (client: Parameters<Parameters<typeof withTenant>[2]>[0]) => Promise<T | undefined>,
): Promise<T> {
  const found = isKebabName(name) ? await withTenant(db, tenantId, work) : undefined;
  if (found === undefined) throw workflowNotFound(name);
  return found;
}

async function readWorkflow(
  deps: ApiDeps,
  tenantId: string,
  name: string,
  detail: FileDetail,
): Promise<z.infer<typeof workflowShape>> {
  return requireWorkflow(deps, tenantId, name, async (client) => {
    const workflow = await getWorkflow(client, name);
    if (workflow === undefined) return undefined;
    const endpoints = (await endpointsOf(client, [workflow.id])).get(workflow.id);
    const version = await getVersion(client, workflow.id, workflow.version, detail);
    return {
      ...toWorkflow(deps.settings.publicHooksUrl, workflow, endpoints),
      definition: version?.source ?? '',
      files: version?.files ?? {},
    };
  });
}

async function switchWorkflow(deps: ApiDeps, tenantId: string, name: string, enabled: boolean) {
  const id = await requireWorkflow(deps, tenantId, name, async (client) => {
    const workflow = await lockWorkflow(client, name);
    if (workflow === undefined) return undefined;
    await setWorkflowEnabled(client, workflow.id, enabled);
    return workflow.id;
  });
  deps.invalidateWorkflow(id);
  return { status: 200, json: await readWorkflow(deps, tenantId, name, 'content') };
}

const deployErrors = ['workflow_invalid', 'workflow_name_mismatch', 'credential_not_found'] as const;

export const workflowOperations = (cursors: Cursors): readonly Operation[] => [
  operation({
    id: 'deployWorkflow',
    method: 'put',
    path: '/workflows/{name}',
    tag: 'workflows',
    summary: 'Deploy a workflow',
    role: 'editor',
    params: nameParam,
    query: { dryRun: booleanParam('Only check it; nothing is saved') },
    body: {
      schema: deployBody,
      maxBytes: MAX_DEPLOY_BYTES,
      text: { mediaType: 'application/yaml', wrap: (definition) => ({ definition, files: {} }) },
    },
    replies: {
      200: {
        description: 'The current version has this content already, or a dry run',
        schema: deployedShape,
      },
      201: { description: 'A new version', schema: deployedShape },
    },
    errors: deployErrors,
    handle: async (deps, { principal, params, query, body, log }) => {
      const deployment = {
        tenantId: principal.tenantId,
        name: params.name,
        source: body.definition,
        files: body.files,
      };
      if (query.dryRun) {
        return { status: 200, json: toDeployed(deps, await checkDeployment(deployDeps(deps), deployment)) };
      }
      const deployed = await deployWorkflow(deployDeps(deps), deployment);
      announce(deps, deployed);
      if (deployed.isNewVersion)
        log.info({ workflow: deployed.name, version: deployed.version }, 'workflow deployed');
      return { status: deployed.isNewVersion ? 201 : 200, json: toDeployed(deps, deployed) };
    },
  }),
  operation({
    id: 'listWorkflows',
    method: 'get',
    path: '/workflows',
    tag: 'workflows',
    summary: 'List the workflows, newest first',
    role: 'viewer',
    params: {},
    query: { limit: limitParam, cursor: cursorParam },
    replies: { 200: { description: 'A page', schema: pageShape(workflowSummaryShape) } },
    errors: ['invalid_cursor'],
    handle: async ({ db, settings }, { principal, query }) => {
      const binding = { list: 'workflows', tenantId: principal.tenantId, filters: {} };
      const [micros, id] = query.cursor === undefined ? [] : cursors.decode(query.cursor, binding);
      const after = micros === undefined || id === undefined ? undefined : { createdAtMicros: micros, id };
      const [rows, endpoints] = await withTenant(db, principal.tenantId, async (client) => {
        const workflows = await listWorkflows(client, { limit: query.limit + 1, after });
        return [
          workflows,
          await endpointsOf(
            client,
            workflows.map((workflow) => workflow.id),
          ),
        ] as const;
      });
      const { items, last } = pageOf(rows, query.limit);
      const json: z.infer<ReturnType<typeof pageShape<typeof workflowSummaryShape>>> = {
        items: items.map((item) => toWorkflow(settings.publicHooksUrl, item, endpoints.get(item.id))),
        nextCursor:
          last === undefined
            ? null
            : cursors.encode([last.position.createdAtMicros, last.position.id], binding),
      };
      return { status: 200, json };
    },
  }),
  operation({
    id: 'getWorkflow',
    method: 'get',
    path: '/workflows/{name}',
    tag: 'workflows',
    summary: 'Get a workflow with its current definition',
    role: 'viewer',
    params: nameParam,
    query: { files: filesParam },
    replies: { 200: { description: 'The workflow', schema: workflowShape } },
    errors: ['workflow_not_found'],
    handle: async (deps, { principal, params, query }) => ({
      status: 200,
      json: await readWorkflow(deps, principal.tenantId, params.name, query.files),
    }),
  }),
  operation({
    id: 'deleteWorkflow',
    method: 'delete',
    path: '/workflows/{name}',
    tag: 'workflows',
    summary: 'Delete a workflow and cancel what has not ended',
    role: 'editor',
    params: nameParam,
    replies: { 204: { description: 'Deleted; its executions and deliveries stay readable' } },
    errors: ['workflow_not_found'],
    handle: async (deps, { principal, params, log }) => {
      const deleted = await requireWorkflow(deps, principal.tenantId, params.name, async (client) => {
        const workflow = await lockWorkflow(client, params.name);
        if (workflow === undefined) return undefined;
        await markWorkflowDeleted(client, workflow.id);
        const reason = `Workflow ${params.name} was deleted`;
        return { id: workflow.id, cancelled: await cancelExecutionsOfWorkflow(client, workflow.id, reason) };
      });
      deps.invalidateWorkflow(deleted.id);
      log.info({ workflow: params.name, cancelled: deleted.cancelled }, 'workflow deleted');
      return { status: 204 };
    },
  }),
  operation({
    id: 'enableWorkflow',
    method: 'post',
    path: '/workflows/{name}/enable',
    tag: 'workflows',
    summary: 'Let a workflow start again',
    role: 'editor',
    params: nameParam,
    replies: { 200: { description: 'The workflow', schema: workflowShape } },
    errors: ['workflow_not_found'],
    handle: (deps, { principal, params }) => switchWorkflow(deps, principal.tenantId, params.name, true),
  }),
  operation({
    id: 'disableWorkflow',
    method: 'post',
    path: '/workflows/{name}/disable',
    tag: 'workflows',
    summary: 'Start no more executions; those under way go on, webhooks get 404',
    role: 'editor',
    params: nameParam,
    replies: { 200: { description: 'The workflow', schema: workflowShape } },
    errors: ['workflow_not_found'],
    handle: (deps, { principal, params }) => switchWorkflow(deps, principal.tenantId, params.name, false),
  }),
  operation({
    id: 'listWorkflowVersions',
    method: 'get',
    path: '/workflows/{name}/versions',
    tag: 'workflows',
    summary: 'List the versions of a workflow, newest first',
    role: 'viewer',
    params: nameParam,
    query: { limit: limitParam, cursor: cursorParam },
    replies: { 200: { description: 'A page', schema: pageShape(versionSummaryShape) } },
    errors: ['workflow_not_found', 'invalid_cursor'],
    handle: async (deps, { principal, params, query }) => {
      const binding = { list: 'versions', tenantId: principal.tenantId, filters: { name: params.name } };
      const [below] = query.cursor === undefined ? [] : cursors.decode(query.cursor, binding);
      const rows = await requireWorkflow(deps, principal.tenantId, params.name, async (client) => {
        const workflow = await getWorkflow(client, params.name);
        const page = { limit: query.limit + 1, below: below === undefined ? undefined : Number(below) };
        return workflow && (await listVersions(client, workflow.id, page));
      });
      const { items, last } = pageOf(rows, query.limit);
      const json: z.infer<ReturnType<typeof pageShape<typeof versionSummaryShape>>> = {
        items: items.map(toVersionSummary),
        nextCursor: last === undefined ? null : cursors.encode([String(last.version)], binding),
      };
      return { status: 200, json };
    },
  }),
  operation({
    id: 'getWorkflowVersion',
    method: 'get',
    path: '/workflows/{name}/versions/{n}',
    tag: 'workflows',
    summary: 'Get one version of a workflow with its definition',
    role: 'viewer',
    params: versionParams,
    query: { files: filesParam },
    replies: { 200: { description: 'The version', schema: versionShape } },
    errors: ['workflow_not_found', 'workflow_version_not_found'],
    handle: async (deps, { principal, params, query }) => {
      const number = versionNumber(params.n);
      const version = await requireWorkflow(deps, principal.tenantId, params.name, async (client) => {
        const workflow = await getWorkflow(client, params.name);
        if (workflow === undefined) return undefined;
        const found =
          number === undefined ? undefined : await getVersion(client, workflow.id, number, query.files);
        if (found === undefined) {
          throw appError('workflow_version_not_found', { args: [params.name, shown(params.n)] });
        }
        return found;
      });
      const json: z.infer<typeof versionShape> = {
        name: params.name,
        ...toVersionSummary(version),
        definition: version.source,
        files: version.files,
      };
      return { status: 200, json };
    },
  }),
  operation({
    id: 'restoreWorkflowVersion',
    method: 'post',
    path: '/workflows/{name}/versions/{n}/restore',
    tag: 'workflows',
    summary: 'Deploy an earlier version again, as a new one',
    role: 'editor',
    params: versionParams,
    replies: {
      200: { description: 'The current version has this content already', schema: deployedShape },
      201: { description: 'A new version', schema: deployedShape },
    },
    errors: ['workflow_not_found', 'workflow_version_not_found', ...deployErrors],
    handle: async (deps, { principal, params, log }) => {
      if (!isKebabName(params.name)) throw workflowNotFound(params.name);
      const number = versionNumber(params.n);
      const deployed =
        number === undefined
          ? await missingVersion(deps, principal.tenantId, params)
          : await restoreVersion(deployDeps(deps), principal.tenantId, params.name, number);
      announce(deps, deployed);
      log.info(
        { workflow: deployed.name, version: deployed.version, restoredFrom: number },
        'version restored',
      );
      return { status: deployed.isNewVersion ? 201 : 200, json: toDeployed(deps, deployed) };
    },
  }),
];

/** What cannot be a number is no version of a workflow that exists. */
async function missingVersion(
  deps: ApiDeps,
  tenantId: string,
  params: { readonly name: string; readonly n: string },
): Promise<never> {
  await requireWorkflow(deps, tenantId, params.name, (client) => getWorkflow(client, params.name));
  throw appError('workflow_version_not_found', { args: [params.name, shown(params.n)] });
}

function announce(deps: ApiDeps, deployed: Deployed): void {
  if (deployed.workflowId !== undefined) deps.invalidateWorkflow(deployed.workflowId);
}
