import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from './cache-directory.ts';
import { freePort } from './free-port.ts';
import { createProcesses } from './processes.ts';
import { waitFor } from './wait-for.ts';

type Value = string | number | boolean;

/** A span as Jaeger tells of it. */
export interface JaegerSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | undefined;
  readonly name: string;
  readonly service: string;
  /** Microseconds since the epoch. */
  readonly startedAtUs: number;
  readonly durationUs: number;
  readonly tags: Readonly<Record<string, Value>>;
  readonly events: readonly Readonly<Record<string, Value>>[];
  /** Of spans that it follows from. */
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

export interface Jaeger {
  /** OTLP over gRPC and HTTP. */
  readonly grpcUrl: string;
  readonly httpUrl: string;
  /** The spans of a trace that have come so far. */
  trace(traceId: string): Promise<readonly JaegerSpan[]>;
  /** The traces of a service that have a span of this name. */
  find(service: string, operation: string): Promise<readonly (readonly JaegerSpan[])[]>;
  stop(): Promise<void>;
}

/** Starts Jaeger on 127.0.0.1, which `scripts/setup-test-machine` builds; it keeps traces in memory. */
export async function startJaeger(): Promise<Jaeger> {
  const program = join(cacheDirectory(), 'tools', 'jaeger');
  await access(program).catch((raw: unknown) => {
    throw new Error(`The tests need ${program}. Run \`scripts/setup-test-machine\`.`, { cause: raw });
  });
  const [grpc, http, query, queryGrpc, admin, old, oldGrpc] = await Promise.all(
    Array.from({ length: 7 }, () => freePort()),
  );
  const processes = createProcesses();
  const started = processes.start(
    [
      program,
      `--collector.otlp.grpc.host-port=127.0.0.1:${grpc}`,
      `--collector.otlp.http.host-port=127.0.0.1:${http}`,
      `--collector.http-server.host-port=127.0.0.1:${old}`,
      `--collector.grpc-server.host-port=127.0.0.1:${oldGrpc}`,
      `--query.http-server.host-port=127.0.0.1:${query}`,
      `--query.grpc-server.host-port=127.0.0.1:${queryGrpc}`,
      `--admin.http.host-port=127.0.0.1:${admin}`,
    ],
    { env: { SPAN_STORAGE_TYPE: 'memory' } },
  );
  const get = async (path: string): Promise<readonly RawTrace[]> => {
    const response = await fetch(`http://127.0.0.1:${query}/api${path}`);
    if (response.status === 404) return [];
    if (!response.ok) throw new Error(`Jaeger: ${path}: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { readonly data: readonly RawTrace[] }).data;
  };
  try {
    await waitFor(
      async () => {
        if (started.hasExited()) throw new Error(started.output());
        return (await fetch(`http://127.0.0.1:${query}/api/services`)).ok;
      },
      { timeoutMs: 30_000, what: 'Jaeger to start' },
    );
  } catch (error) {
    await processes.killAll();
    throw error;
  }
  return {
    grpcUrl: `http://127.0.0.1:${grpc}`,
    httpUrl: `http://127.0.0.1:${http}`,
    trace: async (traceId) => (await get(`/traces/${traceId}`)).flatMap(spansOf),
    find: async (service, operation) =>
      (await get(`/traces?${new URLSearchParams({ service, operation, limit: '100' }).toString()}`)).map(
        spansOf,
      ),
    stop: () => processes.killAll(),
  };
}

interface Tag {
  readonly key: string;
  readonly value: Value;
}
interface Reference {
  readonly refType: string;
  readonly traceID: string;
  readonly spanID: string;
}
/** What we read of `/api/traces`. */
interface RawTrace {
  readonly processes: Readonly<Record<string, { readonly serviceName: string }>>;
  readonly spans: readonly {
    readonly traceID: string;
    readonly spanID: string;
    readonly processID: string;
    readonly operationName: string;
    readonly startTime: number;
    readonly duration: number;
    readonly references: readonly Reference[];
    readonly tags: readonly Tag[];
    readonly logs: readonly { readonly fields: readonly Tag[] }[];
  }[];
}

const toRecord = (tags: readonly Tag[]): Readonly<Record<string, Value>> =>
  Object.fromEntries(tags.map(({ key, value }) => [key, value]));

const spansOf = ({ processes, spans }: RawTrace): readonly JaegerSpan[] =>
  spans.map((span) => ({
    traceId: span.traceID,
    spanId: span.spanID,
    parentId: span.references.find(({ refType }) => refType === 'CHILD_OF')?.spanID,
    name: span.operationName,
    service: processes[span.processID]?.serviceName ?? '',
    startedAtUs: span.startTime,
    durationUs: span.duration,
    tags: toRecord(span.tags),
    events: span.logs.map(({ fields }) => toRecord(fields)),
    links: span.references
      .filter(({ refType }) => refType !== 'CHILD_OF')
      .map(({ traceID, spanID }) => ({ traceId: traceID, spanId: spanID })),
  }));
