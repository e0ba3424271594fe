import type { FileUse } from '../definition/files.ts';
import type { Problem } from '../errors/app-error.ts';
import type { Bundler } from './bundler.ts';
import { bundleJavascript } from './javascript.ts';
import { notebookModule } from './notebook-module.ts';
import { checkWheels, pythonProgram, type Wheel } from './python.ts';
import { sha256, strayReserved } from './shipped-bundle.ts';
import {
  fileProblem,
  RESERVED_FOLDER,
  WHEEL_FOLDER,
  type SourceFile,
  type SourceFiles,
} from './source-files.ts';
import type { PythonTarget } from './wheel-name.ts';

/** What a step's file became: what a runner can run. */
export interface BuiltProgram {
  /** Tells its content: equal ids, equal programs. */
  readonly id: string;
  readonly runtime: 'javascript' | 'python';
  /** The step's file. */
  readonly entry: string;
  /** JavaScript, or JSON of `PythonProgram`. */
  readonly source: string;
  /** Source map of JavaScript. */
  readonly map: string | undefined;
  readonly wheels: readonly Wheel[];
}

export interface BuildDeps {
  readonly bundler: Bundler;
  readonly pythonTarget: PythonTarget;
}

export interface BuiltPrograms {
  /** By the step's file. */
  readonly programs: ReadonlyMap<string, BuiltProgram>;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Files that may lie beside a workflow though no step uses them, at its top. */
const KNOWN_EXTRAS =
  /^(?:readme|license|changelog|notice)(?:\.\w+)?$|^(?:package(?:-lock)?|npm-shrinkwrap|tsconfig)\.json$|^(?:pnpm-lock\.yaml|yarn\.lock|bun\.lock|requirements\.(?:txt|in)|pyproject\.toml)$/i;

/** Makes a program of every file that a step runs; says all that keeps one from being made. */
export async function buildPrograms(
  deps: BuildDeps,
  tenantId: string,
  uses: readonly FileUse[],
  files: SourceFiles,
): Promise<BuiltPrograms> {
  const entries = new Map(uses.filter(({ path }) => files.has(path)).map((use) => [use.path, use]));
  const programs = new Map<string, BuiltProgram>();
  const problems: Problem[] = strayProblems(files, entries.keys());
  const warnings: Problem[] = [];
  const used = new Set<string>(entries.keys());
  const isPython = [...entries.values()].some(({ language }) => language === 'python');
  const packages = isPython ? await checkWheels(files, deps.pythonTarget) : NO_PACKAGES;
  problems.push(...packages.problems);

  for (const [entry, { kind, language }] of entries) {
    if (kind === 'notebook' || language === 'python') {
      const built = buildPython(entry, kind, files);
      if ('problems' in built) problems.push(...built.problems);
      else programs.set(entry, withId({ ...built, wheels: packages.wheels }));
      continue;
    }
    const bundle = await bundleJavascript(deps.bundler, tenantId, entry, files);
    if (!bundle.ok) problems.push(...bundle.problems);
    else {
      const { code, map, inputs } = bundle;
      programs.set(entry, withId({ runtime: 'javascript', entry, source: code, map, wheels: [] }));
      for (const input of inputs) used.add(input);
      warnings.push(...bundle.warnings);
    }
  }
  if (problems.length === 0) warnings.push(...unusedWarnings(files, used, isPython));
  return { programs, problems: distinct(problems), warnings: distinct(warnings) };
}

const NO_PACKAGES = { wheels: [], problems: [] } as const;

function buildPython(
  entry: string,
  kind: FileUse['kind'],
  files: SourceFiles,
): Omit<BuiltProgram, 'id' | 'wheels'> | { readonly problems: readonly Problem[] } {
  let modules: SourceFiles = files;
  const file = files.get(entry);
  if (kind === 'notebook' && file !== undefined) {
    const converted = notebookModule(entry, file);
    if ('problems' in converted) return converted;
    modules = new Map<string, SourceFile>([...files, [entry, converted]]);
  }
  const built = pythonProgram(entry, modules);
  if ('problems' in built) return built;
  return { runtime: 'python', entry, source: JSON.stringify(built.program), map: undefined };
}

function withId(program: Omit<BuiltProgram, 'id'>): BuiltProgram {
  const { runtime, entry, source, wheels } = program;
  const content = JSON.stringify([runtime, entry, sha256(source), wheels.map((wheel) => wheel.sha256)]);
  return { ...program, id: sha256(content) };
}

/** The reserved folder holds what `millrace deploy` puts there, for steps that there are, and nothing else. */
const strayProblems = (files: SourceFiles, entries: Iterable<string>): Problem[] =>
  strayReserved(files, entries).map((path) =>
    fileProblem(
      path,
      'reserved_path',
      `\`${RESERVED_FOLDER}\` is for bundles of \`millrace deploy\`, and this is none of a step here`,
      'move it to another folder, or leave it out',
    ),
  );

const unusedWarnings = (
  files: SourceFiles,
  used: ReadonlySet<string>,
  isPython: boolean,
): readonly Problem[] =>
  [...files.keys()]
    .filter((path) => {
      if (used.has(path) || path.startsWith(RESERVED_FOLDER) || KNOWN_EXTRAS.test(path)) return false;
      return !(isPython && (path.endsWith('.py') || path.startsWith(WHEEL_FOLDER)));
    })
    .map((path) => fileProblem(path, 'no_effect', `no step uses the file \`${path}\``, 'leave it out'));

const distinct = (problems: readonly Problem[]): readonly Problem[] => [
  ...new Map(
    problems.map((problem) => [
      [problem.path, problem.line, problem.column, problem.code, problem.message].join('\0'),
      problem,
    ]),
  ).values(),
];
