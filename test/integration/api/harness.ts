import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { pino } from 'pino';
import { createApp } from '../../../src/api/app.ts';
import { DEFAULT_API_LIMITS, type ApiDeps, type ApiLimits, type ApiSettings } from '../../../src/api/deps.ts';
import { createHttpServer } from '../../../src/api/http/server.ts';
import { createBundler } from '../../../src/core/bundle/bundler.ts';
import { createCipher } from '../../../src/core/credentials/cipher.ts';
import { openDatabase, type Database, type DatabaseRole } from '../../../src/core/db/database.ts';
import type { Hint } from '../../../src/core/hints/types.ts';
import { insertApiKey, makeApiKey } from '../../../src/core/tenants/api-keys.ts';
import { DEFAULT_TENANT } from '../../../src/core/tenants/bootstrap.ts';
import type { Role } from '../../../src/core/tenants/roles.ts';
import { createTestDatabase } from '../../support/database.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // Tests read what they expect; a wrong shape fails the assertion.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: any;
}

export type Call = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Readonly<Record<string, string>>,
) => Promise<Answer>;

export interface TestTenant {
  readonly id: string;
  /** The owner's key. */
  readonly key: string;
  readonly call: Call;
  /** A key of that role. */
  keyOf(role: Role): Promise<string>;
}

export interface TestApi {
  readonly base: string;
  readonly databaseUrl: string;
  readonly db: Database;
  /** As the superuser, past every policy. */
  readonly admin: pg.Pool;
  /** As millrace_engine. */
  readonly engine: Database;
  /** As millrace_ingest. */
  readonly ingest: Database;
  readonly hints: Hint[];
  readonly invalidated: string[];
  readonly stopping: AbortController;
  readonly tenant: TestTenant;
  makeTenant(name: string): Promise<TestTenant>;
  callWith(key: string | undefined): Call;
  close(): Promise<void>;
}

export interface TestApiOptions {
  readonly settings?: Partial<ApiSettings>;
  readonly limits?: Partial<ApiLimits>;
  readonly deps?: Partial<ApiDeps>;
}

/** The API on a port of its own, over a database of its own, with an owner's key of the default tenant. */
export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const database = await createTestDatabase();
  const pools: Database[] = [];
  const openPool = (role: DatabaseRole): Database => {
    const pool = openDatabase({
      url: database.url,
      role,
      name: `test ${role}`,
      maxConnections: 10,
      queryTimeoutMs: 10_000,
      acquireTimeoutMs: 5_000,
      onError: () => undefined,
    });
    pools.push(pool);
    return pool;
  };
  const db = openPool('millrace_api');
  const engine = openPool('millrace_engine');
  const ingest = openPool('millrace_ingest');
  const admin = new pg.Pool({ connectionString: database.url, max: 2 });
  admin.on('error', () => undefined);
  const hints: Hint[] = [];
  const invalidated: string[] = [];
  const stopping = new AbortController();
  const bundler = createBundler();
  const limits: ApiLimits = {
    ...DEFAULT_API_LIMITS,
    maxExecutionTimeS: 3600,
    ...options.limits,
  };
  const app = createApp({
    db,
    clock: { now: Date.now },
    logger: pino({ level: 'silent' }),
    settings: {
      publicUrl: 'https://millrace.example.com',
      publicHooksUrl: 'https://hooks.example.com',
      corsAllowedOrigins: ['https://console.example.com'],
      replayEnabled: true,
      jwtSecret: 'only-for-tests-only-for-tests-only',
      limits,
      ...options.settings,
    },
    cipher: createCipher({ current: randomBytes(32) }),
    bundler,
    hints: { publish: (published) => void hints.push(...published) },
    watchExecution: async () => undefined,
    invalidateWorkflow: (id) => void invalidated.push(id),
    invalidateCredential: () => undefined,
    stopping: stopping.signal,
    hooks: (_req, res) => void res.status(418).end(),
    ...options.deps,
  });
  const server = createHttpServer(app);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on TCP
  const callWith = (key: string | undefined): Call => client(base, key);

  const tenantOf = async (id: string): Promise<TestTenant> => {
    const keyOf = async (role: Role): Promise<string> => {
      const key = makeApiKey();
      await insertApiKey(engine, { tenantId: id, name: `${role} of a test`, role, key, expiresAt: null });
      return key;
    };
    const key = await keyOf('owner');
    return { id, key, call: callWith(key), keyOf };
  };
  const { rows } = await admin.query<{ id: string }>(`select id from tenant where name = $1`, [
    DEFAULT_TENANT,
  ]);

  return {
    base,
    databaseUrl: database.url,
    db,
    admin,
    engine,
    ingest,
    hints,
    invalidated,
    stopping,
    tenant: await tenantOf(rows[0]!.id), // the migration makes it
    callWith,
    async makeTenant(name) {
      const made = await admin.query<{ id: string }>(`insert into tenant (name) values ($1) returning id`, [
        name,
      ]);
      return tenantOf(made.rows[0]!.id); // returning
    },
    async close() {
      stopping.abort();
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
      await Promise.all([...pools.map((pool) => pool.end()), admin.end(), bundler.close()]);
      await database.drop();
    },
  };
}

function client(base: string, key: string | undefined): Call {
  return async (method, path, body, headers = {}) => {
    const isText = typeof body === 'string' || body instanceof Uint8Array;
    const response = await fetch(base + path, {
      method,
      redirect: 'manual',
      ...(body !== undefined && { body: isText ? (body as string) : JSON.stringify(body) }),
      headers: {
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
    });
    const text = await response.text();
    let data: unknown = text;
    try {
      data = JSON.parse(text);
    } catch {
      // It is text, then.
    }
    return { status: response.status, headers: response.headers, text, data };
  };
}
