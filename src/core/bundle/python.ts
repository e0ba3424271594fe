import type { PythonProgram } from '../sandbox/protocol.ts';
import type { Problem } from '../errors/app-error.ts';
import { BUNDLE_LIMITS, mebibytes } from './limits.ts';
import { normalizeVersion, parseRequirements, REQUIREMENTS_FILE, type Requirement } from './requirements.ts';
import { sha256 } from './shipped-bundle.ts';
import { fileProblem, WHEEL_FOLDER, type SourceFiles } from './source-files.ts';
import { newUnpackBudget, readWheel, WheelArchiveError } from './wheel-archive.ts';
import { describeTarget, parseWheelName, runsOn, type PythonTarget } from './wheel-name.ts';

export interface Wheel {
  /** Its file name. */
  readonly name: string;
  readonly sha256: string;
  readonly content: Uint8Array;
}

/** The wheels that were sent, each one that requirements.txt lists, and none else. */
export async function checkWheels(
  files: SourceFiles,
  target: PythonTarget,
): Promise<{ readonly wheels: readonly Wheel[]; readonly problems: readonly Problem[] }> {
  const paths = [...files.keys()].filter((path) => path.startsWith(WHEEL_FOLDER)).sort();
  const requirementsText = files.get(REQUIREMENTS_FILE);
  const { requirements, problems: malformed } = parseRequirements(requirementsText?.text ?? '');
  if (malformed.length > 0) return { wheels: [], problems: malformed };

  const byName = Map.groupBy(requirements, ({ name }) => name);
  const wheels: Wheel[] = [];
  const problems: Problem[] = [];
  const found = new Set<string>();
  const bytes = paths.reduce((sum, path) => sum + (files.get(path)?.bytes.length ?? 0), 0);
  if (bytes > BUNDLE_LIMITS.wheelBytes) {
    const message = `the wheels have ${mebibytes(bytes)}; at most ${mebibytes(BUNDLE_LIMITS.wheelBytes)} are allowed`;
    return { wheels, problems: [fileProblem(REQUIREMENTS_FILE, 'too_large', message, 'require less')] };
  }
  for (const path of paths) {
    const content = files.get(path)?.bytes ?? new Uint8Array();
    const wheel = { name: path.slice(WHEEL_FOLDER.length), sha256: sha256(content), content };
    const fault = wheelFault(wheel, byName, target);
    if ('problem' in fault) problems.push(fileProblem(path, 'invalid_wheel', ...fault.problem));
    else if (found.has(fault.name)) {
      const message = `there are two wheels of \`${fault.name}\``;
      problems.push(fileProblem(path, 'invalid_wheel', message, 'send one'));
    } else {
      found.add(fault.name);
      wheels.push(wheel);
    }
  }
  for (const { name, version, line, isConditional } of requirements) {
    if (found.has(name) || isConditional) continue;
    const message = `the wheel of \`${name}==${version}\` was not sent`;
    const fix = 'deploy with `millrace deploy`, which downloads and sends it';
    problems.push(fileProblem(REQUIREMENTS_FILE, 'missing_wheel', message, fix, { line, column: 1 }));
  }
  return { wheels, problems: [...problems, ...(await archiveProblems(wheels))] };
}

function wheelFault(
  { name: fileName, sha256: hash }: Wheel,
  requirements: ReadonlyMap<string, readonly Requirement[]>,
  target: PythonTarget,
): { readonly name: string } | { readonly problem: readonly [message: string, fix: string] } {
  const again = 'deploy with `millrace deploy`, which downloads and sends what requirements.txt lists';
  const parsed = parseWheelName(fileName);
  if (parsed === undefined) return { problem: [`\`${fileName}\` is no name of a wheel`, again] };
  const required = requirements.get(parsed.name) ?? [];
  if (required.length === 0) {
    const fix = `remove it, or list it in ${REQUIREMENTS_FILE} with its version and hash`;
    return { problem: [`${REQUIREMENTS_FILE} does not list \`${parsed.name}\``, fix] };
  }
  const ofVersion = required.filter(
    ({ version }) => normalizeVersion(version) === normalizeVersion(parsed.version),
  );
  if (ofVersion.length === 0) {
    return {
      problem: [
        `it has version ${parsed.version}; ${REQUIREMENTS_FILE} lists ${required[0]?.version}`,
        again,
      ],
    };
  }
  if (!ofVersion.some(({ hashes }) => hashes.has(hash))) {
    return {
      problem: [`its sha256 is ${hash}, which is none of those that ${REQUIREMENTS_FILE} lists`, again],
    };
  }
  if (runsOn(parsed, target)) return { name: parsed.name };
  return {
    problem: [
      `it does not run on ${describeTarget(target)}`,
      'deploy with `millrace deploy`, or require a version that has a wheel for it',
    ],
  };
}

/** Whether the wheels can be unpacked, without unpacking them. */
async function archiveProblems(wheels: readonly Wheel[]): Promise<readonly Problem[]> {
  const budget = newUnpackBudget();
  const problems: Problem[] = [];
  for (const { name, content } of wheels) {
    try {
      for await (const _ of readWheel(content, budget)) continue;
    } catch (raw) {
      if (!(raw instanceof WheelArchiveError)) throw raw;
      const message = `it cannot be unpacked: ${raw.message}`;
      const fix = 'download it again; require less if it is too large';
      problems.push(fileProblem(WHEEL_FOLDER + name, 'invalid_wheel', message, fix));
    }
  }
  return problems;
}

/** A step of Python (`entry` may be a notebook's, as a module), with every module that lies beside the workflow. */
export function pythonProgram(
  entry: string,
  files: SourceFiles,
): { readonly program: PythonProgram } | { readonly problems: readonly Problem[] } {
  const modules: Record<string, string> = {};
  const problems: Problem[] = [];
  let bytes = 0;
  for (const [path, file] of files) {
    if (!path.endsWith('.py') && path !== entry) continue;
    bytes += file.bytes.length;
    if (file.text === undefined) {
      problems.push(fileProblem(path, 'syntax_error', 'it is not UTF-8 text', 'save it as UTF-8'));
    } else modules[path] = file.text;
  }
  if (bytes > BUNDLE_LIMITS.pythonBytes) {
    const message = `the Python modules have ${mebibytes(bytes)}; at most ${mebibytes(BUNDLE_LIMITS.pythonBytes)} are allowed`;
    problems.push(fileProblem(entry, 'too_large', message, 'send only what the steps import'));
  }
  const text = modules[entry];
  if (problems.length === 0 && text !== undefined && !definesRun(text)) {
    const message = 'it defines no function `run`';
    problems.push(fileProblem(entry, 'missing_export', message, 'write `def run(ctx, input): …`'));
  }
  return problems.length > 0 ? { problems } : { program: { entry, files: modules } };
}

/** Whether a module could have a `run`: its own, assigned, or imported. What it says at run time decides. */
const definesRun = (text: string): boolean =>
  /^\s*(?:async\s+)?def\s+run\b|^\s*run\s*(?::[^=\n]+)?=|\bimport\b[^\n]*(?:\brun\b|\*|\()/m.test(text);
