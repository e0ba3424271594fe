import { once } from 'node:events';
import tls from 'node:tls';
import { createFrameDecoder, encodeFrame } from '../../../core/sandbox/frames.ts';
import type {
  GatewayHeader,
  RegistrationHeader,
  RunnerHeader,
  WorkerHeader,
} from '../../../core/sandbox/protocol.ts';

// Made for these tests only, valid for a hundred years:
// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
//   -subj "/CN=millrace test" -addext "subjectAltName=DNS:gateway.millrace.test"
export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHynHlEKorV4KfyDQ
BCWC/4xagMvt61puEyUEEe20wOGhRANCAATsm3mzhM45XUn9gfSwvwyxa7Ry8PDi
T8Me+YauGsbCPvAluPJHLJzwsd5zns7Gz1P89U46hvupWo5Yeq/Y2vMI
-----END PRIVATE KEY-----`;
export const cert = `-----BEGIN CERTIFICATE-----
MIIBqjCCAU+gAwIBAgIUGcwBOT8W4+KsRZL/N74doJ5N3sowCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNbWlsbHJhY2UgdGVzdDAgFw0yNjExMjExMTQ2MTlaGA8yMTI2
MTAyODExNDYxOVowGDEWMBQGA1UEAwwNbWlsbHJhY2UgdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABOybebOEzjldSf2B9LC/DLFrtHLw8OJPwx75hq4axsI+
8CW48kcsnPCx3nOezsbPU/z1TjqG+6lajlh6r9ja8wijdTBzMB0GA1UdDgQWBBTa
u++U6cxJBJVxLbepjlBbCy1JtTAfBgNVHSMEGDAWgBTau++U6cxJBJVxLbepjlBb
Cy1JtTAPBgNVHRMBAf8EBTADAQH/MCAGA1UdEQQZMBeCFWdhdGV3YXkubWlsbHJh
Y2UudGVzdDAKBggqhkjOPQQDAgNJADBGAiEAo1YqWKqLg0o4/WMEy00GUbOsfMnN
IuRBnRPFJWg2xF8CIQC6QqfTFec3C4z0bagwbxh/35ALEz1BCR4I+j2IR4Z7jA==
-----END CERTIFICATE-----`;

export interface DialledRunner {
  readonly socket: tls.TLSSocket;
  readonly received: (GatewayHeader | WorkerHeader)[];
  send(header: RegistrationHeader | RunnerHeader, payload?: Uint8Array): void;
}

/** A runner that dials the gateway; by default it registers, answers pings and claims, and returns every input. */
export async function dial(
  port: number,
  options: {
    readonly token?: string;
    readonly runtime?: 'javascript' | 'python' | 'image';
    readonly claim?: 'claimed' | 'busy' | 'silent';
    readonly isQuiet?: boolean;
    readonly isUsed?: boolean;
    /** In one piece with `claimed`, so that nothing may be lost at the hand-over. */
    readonly isHasty?: boolean;
    readonly ca?: string;
  } = {},
): Promise<DialledRunner> {
  const { claim = 'claimed' } = options;
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    servername: 'gateway.millrace.test',
    ca: options.ca ?? cert,
  });
  await once(socket, 'secureConnect');
  socket.on('error', () => undefined);
  const received: (GatewayHeader | WorkerHeader)[] = [];
  const send = (header: RegistrationHeader | RunnerHeader, payload?: Uint8Array): void =>
    void socket.write(encodeFrame(header, payload));
  const ready: RunnerHeader = { type: 'ready', protocol: 1, runtime: 'fake', slots: 2, kernel: 'gVisor' };
  const inputs = new Map<string, Uint8Array>();
  const onFrame = (header: GatewayHeader | WorkerHeader, payload: Uint8Array): void => {
    received.push(header);
    if (options.isQuiet) return;
    if (header.type === 'ping') send({ type: 'pong', ping: header.ping });
    else if (header.type === 'claim' && claim === 'claimed') {
      if (options.isHasty)
        socket.write(Buffer.concat([encodeFrame({ type: 'claimed' }), encodeFrame(ready)]));
      else {
        send({ type: 'claimed' });
        setTimeout(() => send(ready), 20);
      }
    } else if (header.type === 'claim' && claim === 'busy') send({ type: 'busy' });
    else if (header.type === 'run') inputs.set(header.nonce, payload);
    else if (header.type === 'part' && inputs.has(header.of)) {
      const { input } = JSON.parse(Buffer.from(payload).toString()) as { input: unknown };
      send({ type: 'result', nonce: header.of }, Buffer.from(JSON.stringify(input)));
    } else if (header.type === 'part') send({ type: 'program_ready', program: header.of });
  };
  const decoder = createFrameDecoder();
  socket.on('data', (chunk) => {
    for (const { header, payload } of decoder.push(chunk))
      onFrame(header as GatewayHeader | WorkerHeader, payload);
  });
  if (options.token !== '') {
    send({
      type: 'register',
      protocol: 1,
      runtime: options.runtime ?? 'javascript',
      token: options.token ?? 'pod-1',
      ...(options.isUsed === true && { isUsed: true }),
    });
  }
  return { socket, received, send };
}
