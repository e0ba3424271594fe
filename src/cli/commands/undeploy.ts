import { createInterface } from 'node:readline/promises';
import { z } from '../../core/zod.ts';
import { CliError, EXIT, type ExitCode } from '../cli-error.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { workflowPath } from '../workflows.ts';

/** `millrace undeploy`: asks first; where nobody can answer, `--yes` is needed. */
export async function undeploy(
  session: Session,
  name: string,
  options: { readonly yes?: true },
): Promise<ExitCode> {
  if (
    options.yes !== true &&
    !(await confirm(
      `Delete workflow ${printable(name)}? Its endpoints stop answering, and what has not ended is cancelled. [y/N] `,
    ))
  ) {
    session.io.say('Nothing was deleted.');
    return EXIT.failure;
  }
  await session.api.request(z.unknown(), 'DELETE', workflowPath(name));
  session.show({ name, deleted: true }, () => `${printable(name)}: deleted`);
  return EXIT.ok;
}

async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new CliError('There is nobody to ask; give --yes to delete without a question.', {
      exitCode: EXIT.usage,
    });
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await prompt.question(question)).trim());
  } finally {
    prompt.close();
  }
}
