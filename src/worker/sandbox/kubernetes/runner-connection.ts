import type { TLSSocket } from 'node:tls';
import { encodeFrame, ProtocolError } from '../../../core/sandbox/frames.ts';
import {
  PROTOCOL_VERSION,
  registrationHeaderSchema,
  type GatewayHeader,
  type RegistrationHeader,
} from '../../../core/sandbox/protocol.ts';
import { listenToFrames } from './frame-listener.ts';
import type { RunnerPod } from './runner-pods.ts';

type Registration = Extract<RegistrationHeader, { type: 'register' }>;
/** What a pod says that it runs. */
export type DialledRuntime = Registration['runtime'];
export type ClaimAnswer = 'claimed' | 'busy' | 'lost';

/** A runner that has dialled and waits to be claimed. */
export interface RunnerConnection {
  readonly pod: RunnerPod;
  readonly runtime: DialledRuntime;
  readonly socket: TLSSocket;
  /** Tells it that there are other gateways now. */
  tell(gateways: readonly string[]): void;
  /** Asks it to be ours from now on; when it agrees, the socket is at the first frame of its session. Once. */
  claim(timeoutMs: number): Promise<ClaimAnswer>;
}

export interface ConnectionEvents {
  /** Who shows this token, as one that may be claimed; undefined is nobody we know. */
  readonly authenticate: (token: string) => Promise<RunnerPod | undefined>;
  /** Its containers were started again after somebody had claimed it; it is not registered. */
  readonly onUsed: (token: string) => Promise<void>;
  /** Why this pod may not register, if so. */
  readonly refusal: (pod: RunnerPod, runtime: DialledRuntime) => string | undefined;
  readonly onRegistered: (connection: RunnerConnection) => void;
  /** It never registered, broke the protocol or did not answer; its socket is destroyed. */
  readonly onDropped: (reason: string) => void;
  /** Of this worker. */
  readonly self: string;
  readonly gateways: () => readonly string[];
}
export interface ConnectionTimes {
  readonly registerMs: number;
  /** Between two pings of a runner that waits; it has as long to answer. */
  readonly pingMs: number;
}

/** Takes the registration of a runner that has just connected. */
export function acceptRunner(socket: TLSSocket, events: ConnectionEvents, times: ConnectionTimes): void {
  let state: 'new' | 'checking' | 'idle' | 'claiming' | 'over' = 'new';
  let pings = 0;
  let isPongDue = false;
  let pinger: NodeJS.Timeout | undefined;
  let answer: ((answer: ClaimAnswer) => void) | undefined;

  const send = (header: GatewayHeader): void => void socket.write(encodeFrame(header));
  const release = (): void => {
    state = 'over';
    clearTimeout(deadline);
    clearInterval(pinger);
    stop();
  };
  const drop = (reason: string): void => {
    if (state === 'over') return;
    release();
    socket.destroy();
    answer?.('lost');
    events.onDropped(reason);
  };
  const refuse = (reason: string): void => {
    send({ type: 'refused', reason });
    if (state === 'over') return;
    release();
    socket.end(() => socket.destroy());
    events.onDropped(reason);
  };
  const ping = (): void => {
    if (isPongDue) {
      drop('it did not answer a ping');
      return;
    }
    isPongDue = true;
    send({ type: 'ping', ping: ++pings });
  };

  const register = async (header: Registration): Promise<void> => {
    state = 'checking';
    if (header.protocol !== PROTOCOL_VERSION) {
      refuse(`protocol ${header.protocol} is not spoken here, ${PROTOCOL_VERSION} is`);
      return;
    }
    if (header.isUsed === true) {
      await events.onUsed(header.token);
      refuse('this pod was used before');
      return;
    }
    const pod = await events.authenticate(header.token);
    if (!isChecking()) return;
    const refusal = pod === undefined ? 'the token is not accepted' : events.refusal(pod, header.runtime);
    if (pod === undefined || refusal !== undefined) {
      refuse(refusal ?? '');
      return;
    }
    clearTimeout(deadline);
    state = 'idle';
    pinger = setInterval(ping, times.pingMs).unref();
    send({ type: 'registered', self: events.self, gateways: events.gateways() });
    events.onRegistered({ pod, runtime: header.runtime, socket, tell, claim });
  };
  const tell = (gateways: readonly string[]): void => {
    if (state === 'idle') send({ type: 'gateways', gateways });
  };
  const isChecking = (): boolean => state === 'checking';
  const claim = (timeoutMs: number): Promise<ClaimAnswer> => {
    if (state !== 'idle') return Promise.resolve('lost');
    state = 'claiming';
    clearInterval(pinger);
    return new Promise((resolve) => {
      const timer = setTimeout(() => drop('it did not answer a claim'), timeoutMs);
      answer = (how) => {
        clearTimeout(timer);
        resolve(how);
      };
      send({ type: 'claim' });
    });
  };
  const onHeader = (header: RegistrationHeader): void => {
    if (header.type === 'register' && state === 'new') {
      register(header).catch(() => drop('its token could not be checked'));
    } else if (header.type === 'pong' && isPongDue && header.ping === pings) {
      isPongDue = false;
    } else if (header.type === 'claimed' && state === 'claiming') {
      release();
      socket.off('close', closed);
      answer?.('claimed');
    } else if (header.type === 'busy' && (state === 'claiming' || state === 'idle')) {
      release();
      socket.destroy();
      answer?.('busy');
      events.onDropped('it is another worker’s now');
    } else {
      throw new ProtocolError(`"${header.type}" out of turn`);
    }
  };

  const closed = (): void => drop('it hung up');
  const deadline = setTimeout(() => drop('it did not register in time'), times.registerMs);
  const stop = listenToFrames(
    socket,
    ({ header }) => {
      const parsed = registrationHeaderSchema.safeParse(header);
      if (!parsed.success) throw new ProtocolError('a header fits no schema');
      onHeader(parsed.data);
    },
    (error) => drop(error.message),
  );
  socket.on('close', closed);
}
