import { createJavascriptStackMapper, createPythonStackMapper, type MapStack } from '../bundle/map-stack.ts';
import { createLoadingCache } from '../cache.ts';
import { maybeOne, type Queryable } from '../db/database.ts';
import { isRecord } from '../json.ts';
import { loadContent, parseProgramReference, type ProgramReference } from './files.ts';

export interface StoredWheel {
  /** Its file name. */
  readonly name: string;
  /** Hex. */
  readonly sha256: string;
  readonly bytes: number;
  readonly load: () => Promise<Uint8Array>;
}

/** The program of a step's file, as it was made when its version was saved. */
export interface StoredProgram {
  /** Tells its content: equal ids, equal programs. */
  readonly id: string;
  readonly runtime: 'javascript' | 'python';
  readonly entry: string;
  /** JavaScript, or JSON of `PythonProgram`. */
  readonly source: Uint8Array;
  readonly wheels: readonly StoredWheel[];
  readonly mapStack: MapStack;
}

const MAX_BYTES = 128 * 1024 * 1024;
const MAX_ENTRIES = 2000;

/**
 * Loads programs and remembers those used last, up to `maxBytes` of them. Wheels are not kept: they are unpacked once.
 *
 * The function gives undefined for a file that the version has no program of.
 *
 * @param db of millrace_engine, or within a tenant
 */
export function createProgramLoader(
  db: Queryable,
  options: { readonly maxBytes?: number } = {},
): (workflowId: string, version: number, file: string) => Promise<StoredProgram | undefined> {
  const { maxBytes = MAX_BYTES } = options;
  const sizes = new Map<string, number>();
  let total = 0;
  const cache = createLoadingCache<string, Loaded>({
    load: async (key) => {
      const [workflowId = '', version = '', file = ''] = key.split('\0');
      return load(db, workflowId, Number(version), file);
    },
    maxEntries: MAX_ENTRIES,
  });
  /** Forgets what was used the longest ago, until the rest fits. */
  const account = (key: string, bytes: number): void => {
    total += bytes - (sizes.get(key) ?? 0);
    sizes.delete(key);
    sizes.set(key, bytes);
    for (const [oldest, size] of sizes) {
      if (total <= maxBytes || oldest === key) break;
      sizes.delete(oldest);
      total -= size;
      cache.forget((candidate) => candidate === oldest);
    }
  };
  return async (workflowId, version, file) => {
    const key = [workflowId, version, file].join('\0');
    const { program, bytes } = await cache.get(key);
    account(key, bytes);
    return program;
  };
}

interface Loaded {
  readonly program: StoredProgram | undefined;
  readonly bytes: number;
}

async function load(db: Queryable, workflowId: string, version: number, file: string): Promise<Loaded> {
  const row = maybeOne(
    await db.query<{ tenant_id: string; program: string | null }>({
      name: 'load-program',
      text: `select tenant_id, (programs -> $3)::text as program from workflow_version where workflow_id = $1 and version = $2`,
      values: [workflowId, version, file],
    }),
  );
  if (row === undefined) throw new Error(`workflow ${workflowId} has no version ${version}`);
  if (row.program === null) return { program: undefined, bytes: 0 };
  const reference = parseProgramReference(row.program);
  const content = async (key: string): Promise<Buffer> => {
    const found = await loadContent(db, row.tenant_id, key);
    if (found === undefined) throw new Error(`the content ${key} of ${file} is gone`);
    return found;
  };
  const { id, runtime, entry } = reference;
  const source = await content(reference.source);
  const map = reference.map === null ? undefined : (await content(reference.map)).toString('utf8');
  const program: StoredProgram = {
    id,
    runtime,
    entry,
    source,
    wheels: reference.wheels.map((wheel) => ({ ...wheel, load: () => content(wheel.sha256) })),
    mapStack: mapperOf(reference, source, map),
  };
  return { program, bytes: source.length + (map?.length ?? 0) };
}

function mapperOf({ runtime, entry }: ProgramReference, source: Buffer, map: string | undefined): MapStack {
  if (runtime === 'javascript') return createJavascriptStackMapper(entry, map);
  const program: unknown = JSON.parse(source.toString('utf8'));
  const files = isRecord(program) && isRecord(program['files']) ? Object.keys(program['files']) : [];
  return createPythonStackMapper(files);
}
