import { EXIT, type ExitCode } from '../cli-error.ts';
import { explain, formatFinding } from '../problems.ts';
import type { Session } from '../session.ts';
import { findingsOf, putWorkflow, type Deployed } from '../workflows.ts';
import { readWorkflowFile } from '../workflow-file.ts';

type Outcome = Deployed & { readonly changed: boolean };

/** `millrace deploy`: stops at the first file that is refused; what was deployed before it stays. */
export async function deploy(session: Session, paths: readonly string[]): Promise<ExitCode> {
  const done: Outcome[] = [];
  for (const path of paths) {
    const file = await readWorkflowFile(session.io, path);
    try {
      const { status, body } = await putWorkflow(session.api, file, { dryRun: false });
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
