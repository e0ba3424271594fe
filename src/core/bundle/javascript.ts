import type { Problem } from '../errors/app-error.ts';
import { BundleLimitError, type Bundler } from './bundler.ts';
import type { BundleFault, BundleResult, BundleWarning, JavascriptTarget } from './esbuild.ts';
import { BUNDLE_LIMITS, mebibytes } from './limits.ts';
import { loaderOf } from './resolve.ts';
import { bundlePath, readShippedBundle } from './shipped-bundle.ts';
import { fileProblem, RESERVED_FOLDER, type SourceFiles } from './source-files.ts';
import { JAVASCRIPT_TARGET, SHIPPED_TARGET } from './target.ts';

export type JavascriptBundle =
  | {
      readonly ok: true;
      readonly code: string;
      readonly map: string | undefined;
      /** The uploaded files that went into it. */
      readonly inputs: readonly string[];
      readonly warnings: readonly Problem[];
    }
  | { readonly ok: false; readonly problems: readonly Problem[] };

const failed = (...problems: readonly Problem[]): JavascriptBundle => ({ ok: false, problems });

/** Bundles one step of TypeScript or JavaScript from the files that were deployed with it, and checks what it may import. */
export async function bundleJavascript(
  bundler: Bundler,
  tenantId: string,
  entry: string,
  files: SourceFiles,
): Promise<JavascriptBundle> {
  const shipped = readShippedBundle(entry, files);
  if (shipped !== undefined && 'message' in shipped) return failed(shipped);
  if (shipped !== undefined) {
    const { code, map, sources } = shipped;
    const tooLarge = sizeProblem(entry, code);
    if (tooLarge !== undefined) return failed(tooLarge);
    // It is whole already; it is bundled once more to see that it can be read, and that nothing is missing.
    const path = bundlePath(entry);
    const checked = await run(bundler, tenantId, path, new Map([[path, code]]), SHIPPED_TARGET);
    if (!checked.ok) return checked;
    return { ok: true, code, map: isMap(map) ? map : undefined, inputs: sources, warnings: [] };
  }
  const texts = new Map<string, string>();
  let bytes = 0;
  for (const [path, file] of files) {
    if (path.startsWith(RESERVED_FOLDER) || loaderOf(path) === undefined || file.text === undefined) continue;
    bytes += file.bytes.length;
    texts.set(path, file.text);
  }
  if (bytes > BUNDLE_LIMITS.sourceBytes) {
    const message = `the files that JavaScript can import have ${mebibytes(bytes)}; at most ${mebibytes(BUNDLE_LIMITS.sourceBytes)} are allowed`;
    return failed(fileProblem(entry, 'too_large', message, 'send only what the steps import'));
  }
  return run(bundler, tenantId, entry, texts);
}

async function run(
  bundler: Bundler,
  tenantId: string,
  entry: string,
  files: ReadonlyMap<string, string>,
  target: JavascriptTarget = JAVASCRIPT_TARGET,
): Promise<JavascriptBundle> {
  let result: BundleResult;
  try {
    result = await bundler.bundle(tenantId, { entry, files, target });
  } catch (raw) {
    if (!(raw instanceof BundleLimitError)) throw raw;
    return failed(fileProblem(entry, 'too_large', raw.message, 'make it smaller, or simpler'));
  }
  if (!result.ok) return failed(...result.faults.map((fault) => faultProblem(fault, entry)));
  const { code, map, inputs, warnings } = result;
  const tooLarge = sizeProblem(entry, code);
  if (tooLarge !== undefined) return failed(tooLarge);
  return { ok: true, code, map: isMap(map) ? map : undefined, inputs, warnings: warnings.map(warningOf) };
}

export function sizeProblem(entry: string, code: string): Problem | undefined {
  const bytes = Buffer.byteLength(code);
  if (bytes <= BUNDLE_LIMITS.bundleBytes) return undefined;
  const message = `with all that it imports it has ${mebibytes(bytes)}; at most ${mebibytes(BUNDLE_LIMITS.bundleBytes)} are allowed`;
  return fileProblem(entry, 'too_large', message, 'import less, for example single functions of a package');
}

const isMap = (map: string | undefined): map is string =>
  map !== undefined && map.startsWith('{') && Buffer.byteLength(map) <= BUNDLE_LIMITS.mapBytes;

const warningOf = ({ message, file = '', line, column }: BundleWarning): Problem =>
  fileProblem(file, 'suspicious_code', message, 'mend it, or leave it if it is meant', { line, column });

/** A fault of bundling as a problem with a file. */
export function faultProblem(fault: BundleFault, entry: string): Problem {
  const { code, message, file = entry, line, column } = fault;
  return fileProblem(file, code, message, fixOf(fault), {
    ...(line !== undefined && { line }),
    ...(column !== undefined && { column }),
  });
}

function fixOf({ code, message, reason, specifier = '' }: BundleFault): string {
  switch (code) {
    case 'missing_export':
      return 'write `export default async function (ctx, input) { … }`';
    case 'syntax_error':
      return message.startsWith('Top-level await')
        ? 'move it into the function, which may wait for promises'
        : 'correct the code';
    case 'forbidden_import':
      return `use \`ctx.fetch\` for requests; these modules of Node can be imported: ${JAVASCRIPT_TARGET.builtins.join(', ')} (docs/deploying-code.md)`;
    case 'unresolved_import':
      return unresolvedFix(reason, specifier);
    default:
      return code satisfies never;
  }
}

function unresolvedFix(reason: BundleFault['reason'], specifier: string): string {
  switch (reason) {
    case 'package':
      return 'deploy with `millrace deploy`, which bundles packages on your machine';
    case 'missing':
      return 'send that file too, or correct the path; `millrace deploy` sends all that is imported';
    case 'outside':
      return 'move the file into the folder of the workflow, or deploy with `millrace deploy`, which bundles it';
    case 'url':
      return 'download it into the folder of the workflow; nothing is fetched when a workflow is saved or run';
    case 'loader':
    case undefined:
      return `import JavaScript, TypeScript, .json or .txt files, not \`${specifier}\``;
    default:
      return reason satisfies never;
  }
}
