import { terminalError, type StepError } from '../../core/step-error.ts';

/** What one attempt of a step may use. */
export interface BrokerLimits {
  readonly requests: number;
  /** Open at a time, until their bodies have been read; further ones wait. */
  readonly requestsAtOnce: number;
  readonly responseBytes: number;
  readonly responseBytesInAll: number;
  readonly requestBytes: number;
  readonly requestBytesInAll: number;
}

export const DEFAULT_LIMITS: BrokerLimits = {
  requests: 1000,
  requestsAtOnce: 32,
  responseBytes: 10_485_760,
  responseBytesInAll: 104_857_600,
  requestBytes: 10_485_760,
  requestBytesInAll: 104_857_600,
};

const WHAT: Readonly<Record<keyof BrokerLimits, string>> = {
  requests: 'requests in one attempt of a step; send fewer, or split the step',
  requestsAtOnce: 'requests at once',
  responseBytes: 'bytes in one response; ask for less at a time (a page, a range, fewer fields)',
  responseBytesInAll: 'bytes of responses in one attempt of a step; ask for less, or split the step',
  requestBytes: 'bytes in the body of one request; send it in parts',
  requestBytesInAll: 'bytes of requests in one attempt of a step; send less, or split the step',
};

export const limitError = (limits: BrokerLimits, name: keyof BrokerLimits): StepError =>
  terminalError('egress_limit', `The limit \`${name}\` is ${limits[name]} ${WHAT[name]}`);

/** Counts what an attempt uses. */
export interface Usage {
  /** Whether a request was refused for their number already; that was logged, and enough. */
  readonly isExhausted: () => boolean;
  /** @throws StepError `egress_limit`, as the following */
  readonly countRequest: () => void;
  readonly countSent: (bytes: number) => void;
  readonly countReceived: (bytes: number) => void;
  /** Waits until fewer than `requestsAtOnce` are open. Rejects with the signal's reason. */
  readonly enter: (signal: AbortSignal) => Promise<void> | undefined;
  readonly leave: () => void;
}

export function createUsage(limits: BrokerLimits): Usage {
  let requests = 0;
  let sent = 0;
  let received = 0;
  let open = 0;
  const waiting = new Set<() => void>();
  return {
    isExhausted: () => requests > limits.requests,
    countRequest: () => {
      if (++requests > limits.requests) throw limitError(limits, 'requests');
    },
    countSent: (bytes) => {
      sent += bytes;
      if (sent > limits.requestBytesInAll) throw limitError(limits, 'requestBytesInAll');
    },
    countReceived: (bytes) => {
      received += bytes;
      if (received > limits.responseBytesInAll) throw limitError(limits, 'responseBytesInAll');
    },
    enter: (signal) => {
      if (open < limits.requestsAtOnce) {
        open++;
        return undefined;
      }
      return new Promise((resolve, reject) => {
        const proceed = (): void => {
          signal.removeEventListener('abort', giveUp);
          resolve();
        };
        const giveUp = (): void => {
          waiting.delete(proceed);
          reject(signal.reason as Error); // a StepError: `fail` of the call gives it
        };
        waiting.add(proceed);
        signal.addEventListener('abort', giveUp, { once: true });
      });
    },
    leave: () => {
      const [next] = waiting;
      if (next === undefined) {
        open--;
        return;
      }
      waiting.delete(next); // it takes over the place
      next();
    },
  };
}
