import { EXIT, type ExitCode } from '../cli-error.ts';
import { explain, formatFinding } from '../problems.ts';
import type { Session } from '../session.ts';
import { allFindings, findingsOf, gatherWorkflow, putWorkflow, type Deployed } from '../workflows.ts';

type Outcome = Deployed & { readonly changed: boolean };

/** `millrace deploy`: stops at the first file that is refused; what was deployed before it stays. */
export async function deploy(session: Session, paths: readonly string[]): Promise<ExitCode> {
  const done: Outcome[] = [];
  for (const path of paths) {
    const gathered = await gatherWorkflow(session.io, path);
    const { file, collected } = gathered;
    if (collected.problems.length > 0) {
      const findings = await allFindings(session.api, gathered);
      for (const finding of findings) session.io.say(formatFinding(finding, file.path));
      session.io.say(`${file.path} was not deployed: it has ${findings.length} problem(s)`);
      if (done.length > 0) session.show(done, describe);
      return EXIT.failure;
    }
    try {
      const { files } = collected;
      const { status, body } = await putWorkflow(session.api, file, { dryRun: false, files });
      done.push({ ...body, changed: status === 201 });
      for (const warning of body.warnings) session.io.say(`warning: ${formatFinding(warning, file.path)}`);
    } catch (raw) {
      if (findingsOf(raw) === undefined) throw raw;
      for (const line of explain(raw, file.path).lines) session.io.say(line);
      if (done.length > 0) session.show(done, describe);
      return EXIT.failure;
    }
  }
  session.show(done, describe);
  return EXIT.ok;
}

const describe = (all: readonly Outcome[]): string =>
  all
    .flatMap(({ name, version, changed, triggers }) => [
      `${name}: version ${version}${changed ? '' : ', unchanged'}`,
      ...triggers.map(
        (trigger) => `  ${trigger.name} (${trigger.type})${trigger.url ? ` ${trigger.url}` : ''}`,
      ),
    ])
    .join('\n');
