import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createFrameDecoder, encodeFrame } from '../../core/sandbox/frames.ts';
import type { GatewayHeader, RegistrationHeader } from '../../core/sandbox/protocol.ts';
import type { Connection } from './deno.ts';
import { awaitClaim, type Claim, type GatewaysOptions } from './gateways.ts';

/** The end of a connection that a gateway has. */
interface Peer {
  readonly address: string;
  readonly received: (RegistrationHeader | { readonly type: 'ready' })[];
  readonly connection: Connection;
  say(header: GatewayHeader): void;
  hangUp(): void;
  /** What is sent to it fails from now on. */
  breakOff(): void;
  isClosed: boolean;
}

function createPeer(address: string): Peer {
  const decoder = createFrameDecoder();
  let arrived: Uint8Array[] = [];
  let waiting: ((bytes: Uint8Array | null) => void) | undefined;
  let isBroken = false;
  const hand = (bytes: Uint8Array | null): void => {
    if (waiting !== undefined) waiting(bytes);
    else if (bytes !== null) arrived.push(bytes);
    waiting = undefined;
  };
  const peer: Peer = {
    address,
    received: [],
    isClosed: false,
    say: (header) => hand(encodeFrame(header)),
    hangUp: () => hand(null),
    breakOff: () => (isBroken = true),
    connection: {
      async read(buffer) {
        const next = arrived[0] ?? (await new Promise<Uint8Array | null>((resolve) => (waiting = resolve)));
        arrived = arrived.slice(1);
        if (next === null) return null;
        buffer.set(next);
        return next.length;
      },
      async write(bytes) {
        if (isBroken) throw new Error('broken');
        for (const { header } of decoder.push(bytes)) peer.received.push(header as RegistrationHeader);
        return bytes.length;
      },
      close() {
        peer.isClosed = true;
        hand(null);
      },
    },
  };
  return peer;
}

function setUp(options: Partial<GatewaysOptions> = {}) {
  const peers: Peer[] = [];
  const unreachable = new Set<string>();
  const onRegistered = vi.fn();
  const claimed = vi.fn<(claim: Claim) => void>();
  const failed = vi.fn<(error: unknown) => void>();
  void awaitClaim({
    runtime: 'javascript',
    anyAddress: async () => 'any:1',
    async connect(address) {
      if (unreachable.has(address)) throw new Error('refused');
      const peer = createPeer(address);
      peers.push(peer);
      return peer.connection;
    },
    token: async () => 'token',
    ready: encodeFrame({ type: 'ready' }),
    onRegistered,
    log: () => undefined,
    now: () => Date.now(),
    ...options,
  }).then(claimed, failed);
  const peer = async (address: string, nth = 0): Promise<Peer> => {
    await vi.waitFor(() =>
      expect(peers.filter((one) => one.address === address).length).toBeGreaterThan(nth),
    );
    return peers.filter((one) => one.address === address)[nth]!;
  };
  const register = async (address: string, self: string, gateways: readonly string[]): Promise<Peer> => {
    const one = await peer(address);
    await vi.waitFor(() => expect(one.received.length).toBeGreaterThan(0));
    one.say({ type: 'registered', self, gateways });
    return one;
  };
  return { peers, unreachable, onRegistered, claimed, failed, peer, register };
}

beforeEach(() => void vi.useFakeTimers({ shouldAdvanceTime: true, advanceTimeDelta: 50 }));
afterEach(() => void vi.useRealTimers());

test('it registers with some worker, then with all that this one knows', async () => {
  const { peers, register, onRegistered } = setUp();
  const first = await register('any:1', 'a:1', ['a:1', 'b:1']);
  expect(first.received[0]).toEqual({ type: 'register', protocol: 1, runtime: 'javascript', token: 'token' });
  await register('b:1', 'b:1', ['a:1', 'b:1']);
  await vi.waitFor(() => expect(onRegistered).toHaveBeenCalledTimes(2));
  first.say({ type: 'gateways', gateways: ['a:1', 'b:1', 'c:1'] });
  await register('c:1', 'c:1', ['a:1', 'b:1', 'c:1']);
  await vi.waitFor(() => expect(onRegistered).toHaveBeenCalledTimes(3));
  expect(peers.map(({ address }) => address)).toEqual(['any:1', 'b:1', 'c:1']);
});

test('the first claim wins, and everybody else hears of it', async () => {
  const { register, claimed } = setUp();
  const a = await register('any:1', 'a:1', ['a:1', 'b:1']);
  const b = await register('b:1', 'b:1', ['a:1', 'b:1']);
  b.say({ type: 'claim' });
  await vi.waitFor(() => expect(b.received.map(({ type }) => type)).toContain('claimed'));
  a.say({ type: 'claim' });
  await vi.waitFor(() => expect(claimed).toHaveBeenCalledOnce());
  expect(claimed.mock.calls[0]![0].connection).toBe(b.connection);
  expect(b.received.map(({ type }) => type)).toEqual(['register', 'claimed', 'ready']);
  await vi.waitFor(() => expect(a.isClosed).toBe(true));
  expect(a.received.map(({ type }) => type)).toEqual(['register', 'busy']);
  expect(b.isClosed).toBe(false);
});

test('nobody is told that it is theirs before that is written down', async () => {
  const written = Promise.withResolvers<void>();
  const { register, claimed } = setUp({ onClaim: () => written.promise });
  const a = await register('any:1', 'a:1', ['a:1']);
  a.say({ type: 'claim' });
  await vi.advanceTimersByTimeAsync(1000);
  expect(a.received.map(({ type }) => type)).toEqual(['register']);
  written.resolve();
  await vi.waitFor(() => expect(claimed).toHaveBeenCalledOnce());
  expect(a.received.map(({ type }) => type)).toEqual(['register', 'claimed', 'ready']);
});

test('where that cannot be written down, it is nobody’s', async () => {
  const { register, failed } = setUp({ onClaim: () => Promise.reject(new Error('no room')) });
  const a = await register('any:1', 'a:1', ['a:1']);
  a.say({ type: 'claim' });
  await vi.waitFor(() => expect(failed).toHaveBeenCalled());
  expect(a.received.map(({ type }) => type)).toEqual(['register']);
});

test('one that was claimed before says so, and lets nobody claim it', async () => {
  const { register, claimed } = setUp({ isUsed: true });
  const a = await register('any:1', 'a:1', ['a:1']);
  expect(a.received[0]).toMatchObject({ type: 'register', isUsed: true });
  a.say({ type: 'claim' });
  await vi.advanceTimersByTimeAsync(1000);
  expect(claimed).not.toHaveBeenCalled();
});

test('pings are answered', async () => {
  const { register } = setUp();
  const a = await register('any:1', 'a:1', ['a:1']);
  a.say({ type: 'ping', ping: 7 });
  await vi.waitFor(() => expect(a.received).toContainEqual({ type: 'pong', ping: 7 }));
});

test('a worker that refuses, hangs up or cannot be reached is tried again, less and less often', async () => {
  const { peer, register, unreachable, peers } = setUp();
  unreachable.add('b:1');
  const a = await register('any:1', 'a:1', ['a:1', 'b:1']);
  await vi.advanceTimersByTimeAsync(20_000);
  unreachable.delete('b:1');
  await vi.advanceTimersByTimeAsync(11_000);
  const b = await peer('b:1');
  await vi.waitFor(() => expect(b.received.length).toBe(1));
  b.say({ type: 'refused', reason: 'the token is not accepted' });
  await vi.advanceTimersByTimeAsync(11_000);
  await peer('b:1', 1);
  a.hangUp();
  await peer('a:1');
  expect(peers.length).toBeLessThan(8);
});

test('a worker from which nothing is heard is given up', async () => {
  const { register } = setUp();
  const a = await register('any:1', 'a:1', ['a:1']);
  await vi.advanceTimersByTimeAsync(52_000);
  expect(a.isClosed).toBe(true);
});

test('a worker that does not answer the first time is dialled again soon', async () => {
  const { peer } = setUp();
  const a = await peer('any:1');
  await vi.advanceTimersByTimeAsync(8000);
  expect(a.isClosed).toBe(true);
  await peer('any:1', 1);
});

test('a second connection to the same worker is closed', async () => {
  const { register, peer, onRegistered } = setUp();
  await register('any:1', 'a:1', ['a:1', 'alias:1']);
  await register('alias:1', 'a:1', ['a:1', 'alias:1']);
  const alias = await peer('alias:1');
  await vi.waitFor(() => expect(alias.isClosed).toBe(true));
  expect(onRegistered).toHaveBeenCalledOnce();
});

test('a claim that cannot be answered ends it: nobody could say whose the runner is', async () => {
  const { register, failed, claimed } = setUp();
  const a = await register('any:1', 'a:1', ['a:1']);
  await vi.waitFor(() => expect(a.received).toHaveLength(1));
  a.breakOff();
  a.say({ type: 'claim' });
  await vi.waitFor(() => expect(failed).toHaveBeenCalled());
  expect(claimed).not.toHaveBeenCalled();
});
