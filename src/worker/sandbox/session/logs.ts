import { ProtocolError } from '../../../core/sandbox/frames.ts';
import { LOG_ENTRY_COST_BYTES, MAX_LOG_ENTRY_BYTES, type LogLevel } from '../../../core/sandbox/protocol.ts';
import type { RunRequest } from '../types.ts';
import { decodeText } from './text.ts';

/** The runner keeps to `maxLogBytes` by itself; its lines about what it left out come on top. */
const SLACK_BYTES = 65_536;

export interface RunLog {
  /** @throws ProtocolError for an entry that no honest runner sends */
  take(level: LogLevel, payload: Uint8Array, truncated: boolean): void;
  /** Says how many entries were dropped here, if any were. */
  finish(): void;
}

/** The log of one run: what is over the cap is dropped and counted, whatever the runner thinks. */
export function createRunLog(request: Pick<RunRequest, 'maxLogBytes' | 'onLog'>): RunLog {
  let left = request.maxLogBytes + SLACK_BYTES;
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
    finish() {
      if (dropped === 0) return;
      request.onLog('warn', `${dropped} more log entries were left out: the log of an attempt is full`, true);
      dropped = 0;
    },
  };
}
