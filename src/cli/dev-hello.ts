import { readFile } from 'node:fs/promises';
import { createApiClient, type ApiClient } from './api-client.ts';
import { ApiError } from './problems.ts';
import type { Target } from './target.ts';
import { workflowShape } from './shapes.ts';
import { putWorkflow, workflowPath, type Deployed } from './workflows.ts';

const NAME = 'hello';
/** Above src/ as well as above dist/. */
const EXAMPLE = new URL('../../examples/hello/workflow.yaml', import.meta.url);

export type Hello =
  | { readonly state: 'deployed'; readonly url: string }
  /** The database knows another key: it was made by a platform with other secrets. */
  | { readonly state: 'key_unknown' }
  /** There is a workflow of that name without a webhook. */
  | { readonly state: 'no_webhook' };

/** Deploys examples/hello through the API, unless there is a workflow of that name: that one is its author's. */
export async function deployHello(target: Target): Promise<Hello> {
  const api = createApiClient(target);
  try {
    const { triggers } = (await existing(api)) ?? (await deploy(api));
    const url = triggers.find(({ type }) => type === 'webhook')?.url;
    return typeof url === 'string' ? { state: 'deployed', url } : { state: 'no_webhook' };
  } catch (raw) {
    if (raw instanceof ApiError && raw.status === 401) return { state: 'key_unknown' };
    throw raw;
  }
}

async function existing(api: ApiClient): Promise<Pick<Deployed, 'triggers'> | undefined> {
  try {
    return (await api.request(workflowShape, 'GET', workflowPath(NAME))).body;
  } catch (raw) {
    if (raw instanceof ApiError && raw.status === 404) return undefined;
    throw raw;
  }
}

async function deploy(api: ApiClient): Promise<Deployed> {
  const source = await readFile(EXAMPLE, 'utf8');
  return (
    await putWorkflow(api, { path: 'examples/hello/workflow.yaml', source, name: NAME }, { dryRun: false })
  ).body;
}

export interface BannerFacts {
  readonly url: string;
  readonly apiKey: string;
  readonly hello: Hello;
  readonly directory: string;
  readonly secretsFile: string;
  readonly database: string;
  readonly hints: string;
  /** What isolates code steps. */
  readonly sandboxes: string;
}

/** What a newcomer needs to go on, for stderr. */
export function formatBanner(facts: BannerFacts): string {
  const { hello } = facts;
  const lines = ['', `Millrace is ready at ${facts.url}`, ''];
  if (hello.state === 'deployed') {
    lines.push(
      `  webhook   ${hello.url}`,
      `  try it    curl -H 'content-type: application/json' -d '{"name": "mill"}' ${hello.url}`,
      '  look      npx millrace executions',
    );
  } else if (hello.state === 'no_webhook') {
    lines.push('  look      npx millrace list');
  }
  lines.push(`  API key   ${facts.apiKey}`);
  if (hello.state === 'key_unknown') {
    lines.push(
      '            this database does not know it: it was first started with another key, which goes on to work;',
      '            set MILLRACE_BOOTSTRAP_API_KEY to that one',
    );
  }
  lines.push(
    `  data      ${facts.directory} (secrets in ${facts.secretsFile})`,
    `  database  ${facts.database}`,
    `  hints     ${facts.hints}`,
    `  code      ${facts.sandboxes}`,
    '',
    'Ctrl-C stops it; the data stays.',
    '',
  );
  return lines.join('\n');
}
