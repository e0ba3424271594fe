import { createHash } from 'node:crypto';
import type { Problem } from '../errors/app-error.ts';
import { z } from '../zod.ts';
import { fileProblem, RESERVED_FOLDER, type SourceFiles } from './source-files.ts';

/**
 * A bundle that `millrace deploy` made on the author's machine, from packages that only that machine has. It lies beside
 * the sources, with its map and with a manifest that tells of which sources it was made, so that a bundle that is not of
 * these sources is never taken for one.
 */
export interface ShippedBundle {
  readonly code: string;
  /** Source map (version 3), where there is one. */
  readonly map: string | undefined;
  /** The uploaded files it was made of. */
  readonly sources: readonly string[];
}

export const bundlePath = (entry: string): string => `${RESERVED_FOLDER}bundles/${entry}.js`;
const mapPath = (entry: string): string => `${RESERVED_FOLDER}bundles/${entry}.map`;
const manifestPath = (entry: string): string => `${RESERVED_FOLDER}bundles/${entry}.json`;

const manifestSchema = z.strictObject({
  format: z.literal(1),
  entry: z.string(),
  /** Path → SHA-256 (hex) of each uploaded file that is in the bundle. */
  sources: z.record(z.string(), z.string()),
});

export const sha256 = (content: Uint8Array | string): string =>
  createHash('sha256').update(content).digest('hex');

/** The files that carry a bundle, path → text. */
export function shipBundle(
  entry: string,
  bundle: {
    readonly code: string;
    readonly map: string;
    readonly sources: Readonly<Record<string, Uint8Array>>;
  },
): Readonly<Record<string, string>> {
  const sources = Object.fromEntries(
    Object.entries(bundle.sources).map(([path, bytes]) => [path, sha256(bytes)]),
  );
  const manifest: z.output<typeof manifestSchema> = { format: 1, entry, sources };
  return {
    [bundlePath(entry)]: bundle.code,
    [mapPath(entry)]: bundle.map,
    [manifestPath(entry)]: `${JSON.stringify(manifest, undefined, 2)}\n`,
  };
}

const FIX = 'run `millrace deploy`, which bundles and sends all of it';

/** The bundle of a step among the files; undefined when none was sent. A problem when it is not of the sources beside it. */
export function readShippedBundle(entry: string, files: SourceFiles): ShippedBundle | Problem | undefined {
  const path = bundlePath(entry);
  const code = files.get(path);
  if (code === undefined) return undefined;
  const manifest = manifestSchema.safeParse(parseJson(files.get(manifestPath(entry))?.text));
  if (code.text === undefined || !manifest.success || manifest.data.entry !== entry) {
    return fileProblem(path, 'stale_bundle', 'this is no bundle of `millrace deploy`', FIX);
  }
  const { sources } = manifest.data;
  const changed = Object.entries(sources).find(([source, hash]) => {
    const file = files.get(source);
    return file === undefined || sha256(file.bytes) !== hash;
  });
  if (changed !== undefined || !Object.hasOwn(sources, entry)) {
    const message = `the bundle of \`${entry}\` was made from another \`${changed?.[0] ?? entry}\``;
    return fileProblem(path, 'stale_bundle', message, FIX);
  }
  return { code: code.text, map: files.get(mapPath(entry))?.text, sources: Object.keys(sources) };
}

/** The files below the reserved folder that no step of `entries` has a use for. */
export function strayReserved(files: SourceFiles, entries: Iterable<string>): readonly string[] {
  const known = new Set(
    [...entries].flatMap((entry) => [bundlePath(entry), mapPath(entry), manifestPath(entry)]),
  );
  return [...files.keys()].filter((path) => path.startsWith(RESERVED_FOLDER) && !known.has(path));
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
