import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdtemp, readFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { createLogger } from '../../src/core/logger.ts';
import { insertApiKey, makeApiKey } from '../../src/core/tenants/api-keys.ts';
import type { Attack, LogLine, Seen, Surroundings } from '../security/attacks/attack.ts';
import { plantCanaries, type Canaries } from './canaries.ts';
import { parseJsonLines } from './json-lines.ts';
import { createApiClient, startPlatform, type ApiClient, type Reply, type TestPlatform } from './platform.ts';
import { startQuietListener, type QuietListener } from './quiet-listener.ts';
import { recordSpans, shown, type RecordedSpans } from './recorded-spans.ts';
import { removeDirectory } from './remove-directory.ts';
import { launchersOf, sandboxRemains } from './sandbox-remains.ts';
import { startSink, type Sink, type SinkAnswer, type SinkEntry } from './sink.ts';

/** Names of the credentials of every tenant here. */
const SERVICE = 'service';
const UNLISTED = 'unlisted';
export const FOREIGN_SECRET = 'foreign-secret';

export interface AttackerTenant {
  readonly id: string;
  readonly name: string;
  /** Notes whatever is answered, for the search afterwards. */
  readonly call: ApiClient['call'];
}

/** A code step to run: an attack, or something harmless. */
export interface CodeStep {
  readonly language: 'javascript' | 'python';
  readonly source: string;
  readonly keys?: JsonObject;
}

export interface Deployed {
  readonly workflow: string;
  readonly tenant: AttackerTenant;
}

/** A platform with canaries in every place, for attacks from inside its sandboxes. */
export interface AttackPlatform {
  readonly platform: TestPlatform;
  readonly around: Surroundings;
  readonly canaries: Canaries;
  readonly listener: QuietListener;
  /** The service that `EGRESS_ALLOW_PRIVATE` lists; it is what the credential `service` is for. */
  readonly sink: Sink;
  readonly stateDirectory: string;
  /** The driver, in its own words. */
  readonly driver: string;
  /** Makes a tenant with its own copy of the credential `service`. */
  makeTenant(name: string): Promise<AttackerTenant>;
  deploy(tenant: AttackerTenant, step: CodeStep, name?: string): Promise<Deployed>;
  start(deployed: Deployed, input: JsonValue): Promise<string>;
  /** Waits until it has ended. */
  end(tenant: AttackerTenant, executionId: string, timeoutMs?: number): Promise<Seen>;
  attack(attack: Attack, tenant: AttackerTenant): Promise<Seen>;
  metrics(): Promise<string>;
  /** What API and worker logged. */
  processLog(): Promise<string>;
  /** Every place where a canary is that must not be there, in words. */
  findCanaries(): Promise<readonly string[]>;
  /** Stops everything; gives what is left of sandboxes, in words. */
  stop(): Promise<readonly string[]>;
}

export interface AttackPlatformOptions {
  /** Of an empty, migrated database, for its administrator. */
  readonly databaseUrl: string;
  readonly redisPort: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly workers?: number;
}

interface Evidence {
  readonly where: string;
  readonly text: string;
}

/** What this machine is said to have; the rest of its environment stays outside. */
const MACHINE = ['PATH', 'XDG_CACHE_HOME', 'MILLRACE_RUNSC', 'MILLRACE_RUNNER_ROOTFS'] as const;

export async function startAttackPlatform(options: AttackPlatformOptions): Promise<AttackPlatform> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-attack-'));
  await chmod(directory, 0o711);
  const stateDirectory = join(directory, 'state');
  const canaries = await plantCanaries([join(directory, 'data'), join(directory, 'data', 'postgres')]);
  const admin = new pg.Client({ connectionString: options.databaseUrl });
  await admin.connect();
  const role = await makeDatabaseUser(admin, options.databaseUrl, canaries.databasePassword);
  const listener = await startQuietListener();
  const sink: Sink = await startSink((entry) => answerOf(entry, listener.port));
  const logFile = join(directory, 'process.log');
  const logDescriptor = openSync(logFile, 'a');
  const logger = createLogger({ level: 'debug', name: 'attacked', destination: logDescriptor });
  const spans = await recordSpans((message) => logger.warn({ problem: message }, 'spans were lost'));
  const platform = await startPlatform(
    role.url,
    {
      ...Object.fromEntries(
        MACHINE.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
      ),
      SANDBOX_DRIVER: 'gvisor',
      SANDBOX_STATE_DIR: stateDirectory,
      ENCRYPTION_KEY: canaries.encryptionKey,
      JWT_SECRET: canaries.jwtSecret,
      EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
      WORKER_CONCURRENCY: '12',
      SHUTDOWN_GRACE_MS: '5000',
      ...options.env,
    },
    {
      logger,
      tracing: spans.tracing,
      ...(options.workers === undefined ? {} : { workers: options.workers }),
    },
  );
  const driver = (await platform.workers[0]?.sandboxes) ?? 'no worker';
  const launchers = await launchersOf(stateDirectory);
  const evidence: Evidence[] = [];
  const around = surroundingsOf(canaries, listener, sink, options);
  const makeTenant = createTenantMaker(admin, platform, canaries, sink, evidence);
  await makeVictim(makeTenant, canaries);
  const parts = { platform, canaries, listener, sink, admin, evidence, logFile, spans };
  return {
    platform,
    around,
    canaries,
    listener,
    sink,
    stateDirectory,
    driver,
    makeTenant,
    deploy,
    start,
    end,
    async attack(attack, tenant) {
      const deployed = await deploy(tenant, { ...attack, keys: attack.keys?.(around) ?? {} });
      return end(tenant, await start(deployed, attack.input?.(around) ?? {}));
    },
    metrics: () => metricsOf(platform),
    processLog: () => readFile(logFile, 'utf8'),
    findCanaries: () => findCanaries(parts),
    async stop() {
      await platform.stop();
      await spans.tracing.stop();
      const remains = await sandboxRemains(stateDirectory, [
        ...new Set([...launchers, ...(await launchersOf(stateDirectory))]),
      ]);
      closeSync(logDescriptor);
      await Promise.all([sink.close(), listener.close(), canaries.remove()]);
      await admin.query(`drop owned by ${role.name}; drop role ${role.name}`);
      await admin.end();
      await removeDirectory(directory);
      return remains;
    },
  };
}

/** The platform's own user, whose password is a canary. */
async function makeDatabaseUser(
  admin: pg.Client,
  databaseUrl: string,
  password: string,
): Promise<{ readonly name: string; readonly url: string }> {
  const name = `attacked_${randomBytes(6).toString('hex')}`;
  await admin.query(`create role ${name} login superuser password ${pg.escapeLiteral(password)}`);
  const url = new URL(databaseUrl);
  url.username = name;
  url.password = encodeURIComponent(password);
  return { name, url: url.href };
}

function surroundingsOf(
  canaries: Canaries,
  listener: QuietListener,
  sink: Sink,
  { databaseUrl, redisPort }: AttackPlatformOptions,
): Surroundings {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return {
    files: canaries.files,
    listenerPort: listener.port,
    hostAddresses: addresses
      .filter(({ internal, address }) => !internal && !address.startsWith('fe80'))
      .map(({ address }) => address),
    sinkUrl: sink.url,
    sinkHost: `127.0.0.1:${sink.port}`,
    postgresPort: Number(new URL(databaseUrl).port),
    redisPort,
  };
}

/** What the service answers: redirects to where nobody may go, else that it was called. */
function answerOf({ path, headers }: SinkEntry, listenerPort: number): SinkAnswer {
  const targets: Readonly<Record<string, string>> = {
    '/redirect-to-listener': `http://127.0.0.1:${listenerPort}/`,
    '/redirect-to-metadata': 'http://169.254.169.254/latest/meta-data/',
    '/redirect-to-file': 'file:///etc/passwd',
    '/redirect-forever': '/redirect-forever',
  };
  const location = targets[path];
  if (location !== undefined) return { status: 302, headers: { location }, body: {} };
  if (path === '/echo') return { headers: { 'x-echo': String(headers.authorization) }, body: { headers } };
  return { body: { path } };
}

type MakeTenant = AttackPlatform['makeTenant'];

function createTenantMaker(
  admin: pg.Client,
  platform: TestPlatform,
  canaries: Canaries,
  sink: Sink,
  evidence: Evidence[],
): MakeTenant {
  return async (name) => {
    const { rows } = await admin.query<{ id: string }>(`insert into tenant (name) values ($1) returning id`, [
      name,
    ]);
    const id = rows[0]!.id; // `returning` of one row
    const key = makeApiKey();
    await insertApiKey(admin, { tenantId: id, name: 'attacker', role: 'owner', key, expiresAt: null });
    const client = createApiClient(platform.base, key);
    const call: ApiClient['call'] = async (method, path, body, headers) => {
      const reply = await client.call(method, path, body, headers);
      evidence.push({ where: `the answer to ${method} ${path}`, text: textOf(reply) });
      return reply;
    };
    const service = { type: 'bearer', data: { token: canaries.token, baseUrl: sink.url } };
    await expectOk(call('PUT', `/api/v1/credentials/${SERVICE}`, service));
    const unlisted = { type: 'bearer', data: { token: canaries.foreignSecret, baseUrl: sink.url } };
    await expectOk(call('PUT', `/api/v1/credentials/${UNLISTED}`, unlisted));
    return { id, name, call };
  };
}

const textOf = ({ text, headers }: Reply): string => `${text}\n${JSON.stringify([...headers])}`;

/** A tenant that attacks nobody and has something to lose. */
async function makeVictim(makeTenant: MakeTenant, canaries: Canaries): Promise<void> {
  const victim = await makeTenant('victim');
  const secret = { type: 'secret', data: { value: canaries.foreignSecret } };
  await expectOk(victim.call('PUT', `/api/v1/credentials/${FOREIGN_SECRET}`, secret));
}

async function expectOk(reply: Promise<Reply>): Promise<Reply> {
  const { status, text } = await reply;
  if (status >= 300) throw new Error(`the API answered ${status}: ${text}`);
  return reply;
}

let workflows = 0;

/** Saves a workflow of one code step, which is given what the execution is given. */
async function deploy(tenant: AttackerTenant, step: CodeStep, name?: string): Promise<Deployed> {
  const file = step.language === 'python' ? 'steps/attack.py' : 'steps/attack.js';
  const workflow = name ?? `attack-${++workflows}`;
  const definition = {
    name: workflow,
    triggers: { go: { manual: {} } },
    steps: [{ id: 'attack', code: file, input: '${{ trigger.body }}', retry: { attempts: 1 }, ...step.keys }],
    output: 'steps.attack.output',
  };
  await expectOk(
    tenant.call('PUT', `/api/v1/workflows/${workflow}`, {
      definition: JSON.stringify(definition),
      files: { [file]: step.source },
    }),
  );
  return { workflow, tenant };
}

async function start({ workflow, tenant }: Deployed, input: JsonValue): Promise<string> {
  const { data } = await expectOk(tenant.call('POST', `/api/v1/workflows/${workflow}/executions`, { input }));
  return (data as { executionId: string }).executionId;
}

interface ShownExecution {
  readonly state: string;
  readonly output: JsonValue;
  readonly error: Seen['error'];
  readonly createdAt: string;
  readonly finishedAt: string;
  readonly steps: readonly { readonly attempts: number }[];
}

async function end(tenant: AttackerTenant, id: string, timeoutMs = 150_000): Promise<Seen> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    // The answer comes when it has ended, or after the wait.
    const { data } = await expectOk(tenant.call('GET', `/api/v1/executions/${id}`));
    const execution = data as ShownExecution;
    if (['succeeded', 'failed', 'cancelled'].includes(execution.state)) {
      const { text } = await expectOk(tenant.call('GET', `/api/v1/executions/${id}/logs`));
      return {
        state: execution.state,
        output: execution.output,
        error: execution.error,
        attempts: execution.steps[0]?.attempts ?? 0,
        logs: parseJsonLines(text) as readonly LogLine[],
        durationMs: Date.parse(execution.finishedAt) - Date.parse(execution.createdAt),
      };
    }
    if (performance.now() > deadline)
      throw new Error(`execution ${id} is ${execution.state} after ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function metricsOf(platform: TestPlatform): Promise<string> {
  const bases = [platform.base, ...platform.workers.map(({ port }) => `http://127.0.0.1:${port}`)];
  const texts = await Promise.all(bases.map(async (base) => (await fetch(`${base}/metrics`)).text()));
  return texts.join('\n');
}

async function findCanaries(parts: {
  readonly platform: TestPlatform;
  readonly canaries: Canaries;
  readonly listener: QuietListener;
  readonly sink: Sink;
  readonly admin: pg.Client;
  readonly evidence: readonly Evidence[];
  readonly logFile: string;
  readonly spans: RecordedSpans;
}): Promise<readonly string[]> {
  const { platform, canaries, listener, sink, admin, evidence, logFile, spans } = parts;
  const requests = sink.entries.map(({ method, path, headers, body }) => {
    // Its own token is what the service is to get, in this header alone.
    const isToken = headers.authorization === `Bearer ${canaries.token}`;
    return JSON.stringify({
      method,
      path,
      headers: { ...headers, ...(isToken ? { authorization: '' } : {}) },
      body,
    });
  });
  const recorded = await spans.allUntilNow();
  const places: readonly Evidence[] = [
    ...evidence,
    ...requests.map((text) => ({ where: 'a request to the service', text })),
    ...recorded.map((span) => ({ where: `the span ${span.name}`, text: JSON.stringify(shown(span)) })),
    { where: 'what the listener heard', text: listener.heard.join('\n') },
    { where: 'the log of the processes', text: await readFile(logFile, 'utf8') },
    { where: '/metrics', text: await metricsOf(platform) },
    ...(await dump(admin)),
  ];
  // A search that sees nothing finds nothing.
  for (const kind of [
    'the answer to',
    'the log of the processes',
    '/metrics',
    'the table',
    'the span step.code',
  ]) {
    if (!places.some(({ where, text }) => where.startsWith(kind) && text !== '')) {
      throw new Error(`there is nothing of ${kind} to search`);
    }
  }
  return places.flatMap(({ where, text }) => canaries.find(text).map((name) => `${name}: in ${where}`));
}

/** Every table as text. Credentials are sealed, so they are no exception. */
async function dump(admin: pg.Client): Promise<readonly Evidence[]> {
  const tables = await admin.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c
     where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace`,
  );
  const found: Evidence[] = [];
  for (const { name } of tables.rows) {
    const { rows } = await admin.query<{ row: string }>(`select t::text as row from ${name} t`);
    found.push(...rows.map(({ row }) => ({ where: `the table ${name}`, text: row })));
  }
  return found;
}
