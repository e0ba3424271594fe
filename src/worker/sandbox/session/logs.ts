import { ProtocolError } from '../../../core/sandbox/frames.ts';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES, type LogLevel } from '../../../core/sandbox/protocol.ts';
import type { RunRequest } from '../types.ts';
import { decodeText } from './text.ts';

/** The runner keeps to `maxLogBytes` by itself; its lines about what it left out come on top. */
const SLACK_BYTES = 65_536;

export interface RunLog {
  /** @throws ProtocolError for an entry that no honest runner sends */
  take(level: LogLevel, payload: Uint8Array, truncated: boolean): void;
  /** The runner will not end the run: what it keeps of a long log, beyond the first half, is lost. Says so. */
  loseRest(): void;
  /** Says how many entries were dropped here, if any were. */
  finish(): void;
}

/** The log of one run: what is over the cap is dropped and counted, whatever the runner thinks. */
export function createRunLog(request: Pick<RunRequest, 'maxLogBytes' | 'onLog'>): RunLog {
  const allowed = request.maxLogBytes + SLACK_BYTES;
  let left = allowed;
  let dropped = 0;
  return {
    take(level, payload, truncated) {
      if (payload.length > MAX_LOG_ENTRY_BYTES) {
        throw new ProtocolError(`a log entry of ${payload.length} bytes is too large`);
      }
      const cost = payload.length + LOG_ENTRY_COST_BYTES;
      if (dropped > 0 || cost > left) {
        dropped++;
        return;
      }
      left -= cost;
      request.onLog(level, decodeText(payload), truncated);
    },
    loseRest() {
      // The next entry may have been too long for what was left of the first half.
      const taken = allowed - left + MAX_LOG_ENTRY_BYTES + LOG_ENTRY_COST_BYTES;
      if (left === allowed || taken <= request.maxLogBytes / 2) return;
      request.onLog('warn', 'the rest of a long log is lost with the sandbox of the step', true);
    },
    finish() {
      if (dropped === 0) return;
      request.onLog('warn', `${dropped} more log entries were left out: the log of an attempt is full`, true);
      dropped = 0;
    },
  };
}
