import { AppError, appError, coerceError } from '../errors/app-error.ts';
import type { ErrorCode } from '../errors/registry.ts';

/** From good to bad; `skipped` is what could not be looked at for want of something before it. */
export const VERDICTS = ['ok', 'skipped', 'warning', 'error'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** What a check found, for people, and what they can do about it. */
export interface Finding {
  /** What was looked at: `database.fsync`. */
  readonly check: string;
  readonly verdict: Verdict;
  readonly message: string;
  /** There for every warning and error. */
  readonly remedy?: string;
}

export const ok = (check: string, message: string): Finding => ({ check, verdict: 'ok', message });
export const skipped = (check: string, message: string): Finding => ({ check, verdict: 'skipped', message });
export const warning = (check: string, message: string, remedy: string): Finding => ({
  check,
  verdict: 'warning',
  message,
  remedy,
});
export const failure = (check: string, message: string, remedy: string): Finding => ({
  check,
  verdict: 'error',
  message,
  remedy,
});

export function worstOf(findings: readonly Finding[]): Verdict {
  const ranks = findings.map(({ verdict }) => VERDICTS.indexOf(verdict));
  const worst = VERDICTS[Math.max(0, ...ranks)]!; // ranks are indexes of it
  return worst === 'skipped' ? 'ok' : worst;
}

/**
 * Runs checks one after the other; one that throws is a finding too, so that a doctor always comes to its end.
 *
 * @param remedy for what nobody expected
 */
export async function examine(
  checks: readonly (readonly [check: string, look: () => Promise<readonly Finding[]> | readonly Finding[]])[],
  remedy = 'mend what the message says, and run this again',
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const [check, look] of checks) {
    try {
      findings.push(...(await look()));
    } catch (raw) {
      findings.push(failure(check, coerceError(raw).message, remedy));
    }
  }
  return findings;
}

/**
 * Makes an error of the first finding that says so: what a process refuses to start with, or is not ready for.
 *
 * @throws AppError of `code`
 */
export function refuse(code: ErrorCode, findings: readonly Finding[]): void {
  const found = findings.find(({ verdict }) => verdict === 'error');
  if (found === undefined) return;
  throw appError(code, { args: [`${found.message}; ${found.remedy ?? ''}`] });
}

/** An `AppError` as the finding that it is. */
export function asFinding(check: string, raw: unknown, remedy: string): Finding {
  const error = coerceError(raw);
  if (!(error instanceof AppError)) return failure(check, error.message, remedy);
  // Our messages end with what to do: `…; run \`millrace migrate\``.
  const cut = error.message.lastIndexOf('; ');
  if (cut < 0) return failure(check, error.message, remedy);
  return failure(check, error.message.slice(0, cut), error.message.slice(cut + 2));
}
