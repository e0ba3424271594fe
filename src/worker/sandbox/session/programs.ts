import { coerceError } from '../../../core/errors/app-error.ts';
import { ProtocolError } from '../../../core/sandbox/frames.ts';
import type { Sandbox } from '../driver.ts';
import type { Program, RunEnd } from '../types.ts';
import { sendParts } from './parts.ts';
import type { FrameWriter } from './writer.ts';

/** Undefined when it can be run. */
type Verdict = Extract<RunEnd, { readonly type: 'failed' }> | undefined;

interface Sent {
  verdict: 'awaited' | Verdict;
  readonly answer: PromiseWithResolvers<Verdict>;
  timer: NodeJS.Timeout | undefined;
}

export interface Programs {
  /**
   * Sends the program unless the sandbox has it, or is being sent it.
   *
   * @returns the verdict, at once where it is known
   * @throws StepError what `Sandbox.share` throws
   */
  prepare(program: Program): Verdict | Promise<Verdict>;
  /** The runner's verdict. @throws ProtocolError when it was not asked for */
  judged(id: string, verdict: Verdict): void;
  /** Nothing will be answered any more. */
  fail(error: Error): void;
}

/** The programs that a sandbox has, each sent once however many runs want it. */
export function createPrograms(deps: {
  readonly sandbox: Sandbox;
  readonly writer: FrameWriter;
  readonly timeoutMs: number;
  /** The runner says nothing of a program for `timeoutMs`. */
  readonly onOverdue: () => void;
}): Programs {
  const { writer } = deps;
  const sent = new Map<string, Sent>();
  let isOver = false;

  const send = (program: Program, packages: string | undefined, entry: Sent): void => {
    if (isOver) return;
    const { id, runtime, entry: file, source } = program;
    entry.timer = setTimeout(deps.onOverdue, deps.timeoutMs);
    writer.send({
      type: 'program',
      program: id,
      language: runtime,
      entry: file,
      bytes: source.length,
      ...(packages === undefined ? {} : { packages }),
    });
    sendParts(writer, id, source);
  };
  const share = async (program: Program, folder: string, name: string, entry: Sent): Promise<void> => {
    try {
      send(program, await deps.sandbox.share(name, folder), entry);
    } catch (raw) {
      // Not said to the runner, so it may be tried again.
      sent.delete(program.id);
      entry.answer.reject(coerceError(raw));
    }
  };

  return {
    prepare(program) {
      const known = sent.get(program.id);
      if (known !== undefined) return known.verdict === 'awaited' ? known.answer.promise : known.verdict;
      const entry: Sent = { verdict: 'awaited', answer: Promise.withResolvers(), timer: undefined };
      entry.answer.promise.catch(() => undefined); // those who wait hear of it; perhaps nobody does
      sent.set(program.id, entry);
      if (program.packages === undefined) send(program, undefined, entry);
      else void share(program, program.packages.folder, program.packages.id, entry);
      return entry.answer.promise;
    },
    judged(id, verdict) {
      const entry = sent.get(id);
      if (entry?.timer === undefined || entry.verdict !== 'awaited') {
        throw new ProtocolError('a program is spoken of that was not sent');
      }
      clearTimeout(entry.timer);
      entry.verdict = verdict;
      entry.answer.resolve(verdict);
    },
    fail(error) {
      isOver = true;
      for (const entry of sent.values()) {
        clearTimeout(entry.timer);
        entry.answer.reject(error);
      }
    },
  };
}
