import { EXIT, type ExitCode } from '../cli-error.ts';
import { explain, formatFinding } from '../problems.ts';
import type { Session } from '../session.ts';
import { allFindings, findingsOf, gatherWorkflow, putWorkflow, type Deployed } from '../workflows.ts';

interface Verdict {
  readonly file: string;
  readonly valid: boolean;
  readonly errors: readonly unknown[];
  readonly warnings: readonly unknown[];
}

/** `millrace validate`: every file is looked at, also after one that is wrong. */
export async function validate(session: Session, paths: readonly string[]): Promise<ExitCode> {
  const verdicts: Verdict[] = [];
  for (const path of paths) verdicts.push(await validateOne(session, path));
  session.show(verdicts, (all) =>
    all.map(({ file, valid }) => `${file}: ${valid ? 'valid' : 'not valid'}`).join('\n'),
  );
  return verdicts.every(({ valid }) => valid) ? EXIT.ok : EXIT.failure;
}

async function validateOne(session: Session, path: string): Promise<Verdict> {
  const gathered = await gatherWorkflow(session.io, path);
  const { file, collected } = gathered;
  if (collected.problems.length > 0) {
    const errors = await allFindings(session.api, gathered);
    for (const finding of errors) session.io.say(formatFinding(finding, file.path));
    return { file: file.path, valid: false, errors, warnings: [] };
  }
  let saved: Deployed;
  try {
    ({ body: saved } = await putWorkflow(session.api, file, { dryRun: true, files: collected.files }));
  } catch (raw) {
    const errors = findingsOf(raw);
    if (errors === undefined) throw raw; // not about the document
    for (const line of explain(raw, file.path).lines) session.io.say(line);
    return { file: file.path, valid: false, errors, warnings: [] };
  }
  const { warnings } = saved;
  for (const warning of warnings) session.io.say(`warning: ${formatFinding(warning, file.path)}`);
  return { file: file.path, valid: true, errors: [], warnings };
}
