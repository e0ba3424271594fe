import { originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';

/** Turns a stack as the runner's runtime wrote it into one of the author's files. */
export type MapStack = (stack: string) => string;

/** As V8 writes a frame: `at name (file:line:column)` or `at file:line:column`. */
const V8_FRAME = /^\s*at (?:(.+?) \()?(?:async )?([^()\s][^()]*?):(\d+):(\d+)\)?$/;
/** As Python writes a frame. */
const PYTHON_FRAME = /^\s*File "(.+)", line (\d+)(?:, in (.+))?$/;
const MAX_LINES = 200;

/**
 * For JavaScript: frames of the bundle (whose script is named `entry`) become `at name (steps/score.ts:12:7)`; those of the
 * runner and of the runtime itself are left out.
 *
 * @param map the bundle's source map; without a readable one the bundle's own lines are shown
 */
export function createJavascriptStackMapper(entry: string, map: string | undefined): MapStack {
  let traced: TraceMap | undefined;
  let isRead = false;
  const trace = (): TraceMap | undefined => {
    if (!isRead && map !== undefined) traced = readMap(map);
    isRead = true;
    return traced;
  };
  const frame = (name: string | undefined, line: number, column: number): string => {
    const source = trace();
    // V8 counts columns from 1, source maps from 0.
    const original = source && originalPositionFor(source, { line, column: Math.max(0, column - 1) });
    const place =
      original === undefined || original.source === null
        ? `${entry}:${line}:${column}`
        : `${original.source}:${original.line}:${original.column + 1}`;
    return name === undefined ? `    at ${place}` : `    at ${name} (${place})`;
  };
  return (stack) =>
    mapLines(stack, (text) => {
      const match = V8_FRAME.exec(text);
      if (match === null) return /^\s*at /.test(text) ? undefined : text;
      const [, name, file = '', line, column] = match;
      return isScript(file, entry) ? frame(cleanName(name), Number(line), Number(column)) : undefined;
    });
}

/** For Python: frames of the workflow's own modules and of packages become `steps/score.py:12 in score`. */
export function createPythonStackMapper(files: readonly string[]): MapStack {
  return (stack) => {
    let isShown = true;
    return mapLines(stack, (text) => {
      const match = PYTHON_FRAME.exec(text);
      if (match === null) {
        // The source line below a frame goes with it; the message at the end is not indented.
        if (!/^\s/.test(text)) isShown = true;
        return isShown && !/^\s*[\^~]+\s*$/.test(text) ? text : undefined;
      }
      const [, path = '', line, name] = match;
      // A cell of a notebook is `report.ipynb#cell-3`.
      const [module = '', cell] = path.split('#');
      const file = files.find((known) => module === known || module.endsWith(`/${known}`));
      isShown = file !== undefined;
      if (file === undefined) return undefined;
      return `  at ${name ?? '<module>'} (${file}${cell === undefined ? '' : `#${cell}`}:${line})`;
    });
  };
}

const mapLines = (stack: string, map: (line: string) => string | undefined): string =>
  stack
    .split('\n')
    .slice(0, MAX_LINES)
    .flatMap((line) => map(line) ?? [])
    .join('\n');

const isScript = (file: string, entry: string): boolean => file === entry || file.endsWith(`/${entry}`);

/** esbuild's wrapper names say nothing to the author. */
const cleanName = (name: string | undefined): string | undefined =>
  name === undefined ? undefined : name.replace(/^async /, '').replace(/^Object\.<anonymous>$/, '<module>');

function readMap(map: string): TraceMap | undefined {
  try {
    return new TraceMap(map);
  } catch {
    return undefined;
  }
}
