import { setTimeout as delay } from 'node:timers/promises';
import { CliError, EXIT, type ExitCode } from '../cli-error.ts';
import { parseInput } from '../input.ts';
import { printable, printableJson } from '../printable.ts';
import type { Session } from '../session.ts';
import { executionShape, hasEnded, startedShape, type Execution } from '../shapes.ts';
import { workflowPath } from '../workflows.ts';

const POLL_MS = 250;

/** `millrace run`: ends with 0 when the execution succeeded in time; with a time-out of 0 it only starts it. */
export async function run(
  session: Session,
  name: string,
  options: { readonly input: readonly string[]; readonly timeoutMs: number },
): Promise<ExitCode> {
  const input = await parseInput(options.input, session.io.readText);
  const { body } = await session.api.request(startedShape, 'POST', `${workflowPath(name)}/executions`, {
    body: input === undefined ? {} : { input },
  });
  const { executionId } = body;
  if (options.timeoutMs === 0) {
    session.show(body, () => executionId);
    return EXIT.ok;
  }
  session.io.say(`execution: ${executionId}`);
  const execution = await waitForEnd(session, executionId, options.timeoutMs);
  session.show(execution, ({ output }) => printableJson(output, 2));
  if (execution.state === 'succeeded') return EXIT.ok;
  const { error } = execution;
  const reason =
    error === null
      ? ''
      : `: ${error.step === null ? '' : `step ${error.step}, `}${error.code}: ${error.message}`;
  session.io.say(
    printable(`The execution ${execution.state === 'cancelled' ? 'was cancelled' : 'failed'}${reason}`),
  );
  return EXIT.failure;
}

async function waitForEnd(session: Session, id: string, timeoutMs: number): Promise<Execution> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 25; ; pauseMs = Math.min(pauseMs * 2, POLL_MS)) {
    const { body: execution } = await session.api.request(
      executionShape,
      'GET',
      `/executions/${encodeURIComponent(id)}`,
    );
    if (hasEnded(execution)) return execution;
    if (performance.now() > deadline) {
      throw new CliError(
        `The execution ${id} is still ${execution.state} after ${timeoutMs / 1000} s. It goes on; \`millrace logs ${id} -f\` follows it.`,
      );
    }
    await delay(pauseMs);
  }
}
