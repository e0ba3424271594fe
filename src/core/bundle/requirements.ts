import type { Problem } from '../errors/app-error.ts';
import { fileProblem } from './source-files.ts';

export const REQUIREMENTS_FILE = 'requirements.txt';

/** A line of requirements.txt: one version of one package, and the hashes that its files may have. */
export interface Requirement {
  /** Normalised as PEP 503 says. */
  readonly name: string;
  readonly version: string;
  /** SHA-256, hex. */
  readonly hashes: ReadonlySet<string>;
  /** It may not apply where the workflow runs: it has an environment marker. */
  readonly isConditional: boolean;
  /** 1-based. */
  readonly line: number;
}

const HASH_FIX =
  'add the hashes: `pip-compile --generate-hashes requirements.in`, or `pip hash <wheel>` for each wheel';
// name, extras, version: pip's "requirement specifier" reduced to what names exactly one version.
const PINNED =
  /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*===?\s*([A-Za-z0-9][A-Za-z0-9.!+_-]*)\s*(;.*)?$/;
const HASH = /\s--hash=sha256:([0-9a-f]{64})(?=\s|$)/gi;
/** Where packages are looked for is the business of the machine that downloads them. */
const IGNORED_OPTIONS =
  /^(?:-i|-f|--(?:index-url|extra-index-url|find-links|trusted-host|no-index|only-binary|prefer-binary|require-hashes))(?:[\s=]|$)/;

export const normalizeName = (name: string): string => name.toLowerCase().replaceAll(/[-_.]+/g, '-');

/** Versions as PEP 440 compares them, as far as `==` needs it: `1.0` is `1.0.0`. */
export const normalizeVersion = (version: string): string =>
  version
    .toLowerCase()
    .replace(/^v/, '')
    .replaceAll(/[-_]/g, '.')
    .replace(/^((?:\d+!)?\d+(?:\.\d+)*?)(?:\.0)+(?=$|[^.\d]|\.[^\d])/, '$1');

/** Reads pip's requirements.txt in hash-checking mode: every line names one version and its SHA-256 hashes. */
export function parseRequirements(
  text: string,
  file = REQUIREMENTS_FILE,
): { readonly requirements: readonly Requirement[]; readonly problems: readonly Problem[] } {
  const requirements: Requirement[] = [];
  const problems: Problem[] = [];
  const names = new Set<string>();
  for (const { line, content } of logicalLines(text)) {
    const parsed = IGNORED_OPTIONS.test(content) ? undefined : parseLine(content, line);
    if (parsed === undefined) continue;
    if ('message' in parsed) {
      problems.push(
        fileProblem(file, 'invalid_requirement', parsed.message, parsed.fix, { line, column: 1 }),
      );
    } else if (names.has(parsed.name) && !parsed.isConditional) {
      const message = `\`${parsed.name}\` is listed twice`;
      problems.push(fileProblem(file, 'invalid_requirement', message, 'keep one', { line, column: 1 }));
    } else {
      names.add(parsed.name);
      requirements.push(parsed);
    }
  }
  return { requirements, problems };
}

function parseLine(
  content: string,
  line: number,
): Requirement | { readonly message: string; readonly fix: string } {
  if (/^(?:-r|-c|--requirement|--constraint)/.test(content))
    return { message: 'other files are not read', fix: 'write their lines into this file' };
  if (/^(?:-e|--editable)|^\.{0,2}\/|:\/\/|^[^;#]*\s@\s/.test(content)) {
    return {
      message: 'only packages of an index can be required',
      fix: 'write `name==version --hash=sha256:…`; put modules of your own beside the workflow',
    };
  }
  if (content.startsWith('-'))
    return { message: `the option ${content.split(/[\s=]/)[0]} is not supported`, fix: 'remove it' };
  const hashes = new Set([...content.matchAll(HASH)].map(([, hash = '']) => hash.toLowerCase()));
  const specifier = content.replaceAll(/\s--hash=\S+/g, '').trim();
  const match = PINNED.exec(specifier);
  if (match === null || match[2]!.endsWith('.')) {
    return {
      message: `\`${specifier.slice(0, 80)}\` does not name exactly one version`,
      fix: 'write `name==version --hash=sha256:…`, as `pip-compile --generate-hashes` does',
    };
  }
  if (hashes.size === 0)
    return { message: `\`${specifier.slice(0, 80)}\` has no sha256 hash`, fix: HASH_FIX };
  const [, name = '', version = '', marker] = match;
  return { name: normalizeName(name), version, hashes, isConditional: marker !== undefined, line };
}

/** Lines without comments, with those that end in a backslash joined to the next; empty ones are left out. */
function logicalLines(text: string): readonly { readonly line: number; readonly content: string }[] {
  const lines: { line: number; content: string }[] = [];
  let open: { line: number; content: string } | undefined;
  for (const [index, raw] of text.split(/\r\n?|\n/).entries()) {
    const isComment = /^\s*#/.test(raw);
    const plain = isComment ? '' : raw.replace(/\s#.*$/, '');
    const continues = plain.trimEnd().endsWith('\\');
    const content = continues ? plain.trimEnd().slice(0, -1) : plain;
    if (open === undefined) open = { line: index + 1, content };
    else open.content += ` ${content}`;
    if (continues) continue;
    lines.push(open);
    open = undefined;
  }
  if (open !== undefined) lines.push(open);
  return lines
    .map(({ line, content }) => ({ line, content: content.trim() }))
    .filter(({ content }) => content !== '');
}
