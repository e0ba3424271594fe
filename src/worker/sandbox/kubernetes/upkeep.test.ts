import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import type { FoundPod } from './runner-pods.ts';
import type { Workers } from './shared-objects.ts';
import { orphansOf, startUpkeep } from './upkeep.ts';

const pod = (uid: string, claimedBy?: string): FoundPod => ({
  uid,
  name: `runner-${uid}`,
  claimedBy,
  createdAtMs: 0,
});
const FACTS = {
  worker: 'worker-a',
  workers: new Set(['worker-a', 'worker-b']),
  held: ({ uid }: FoundPod) => uid === 'mine',
  nowMs: 60_000,
};
const names = (pods: readonly FoundPod[]): readonly string[] => pods.map(({ uid }) => uid);

test('orphans are those of workers that are gone, and those that this worker does not know', () => {
  const found = [
    pod('mine', 'worker-a'),
    pod('forgotten', 'worker-a'),
    pod('theirs', 'worker-b'),
    pod('orphan', 'worker-c'),
  ];
  expect(names(orphansOf(found, FACTS))).toEqual(['forgotten', 'orphan']);
});

test('nobody is taken for gone while this worker itself is not known', () => {
  const found = [pod('orphan', 'worker-c'), pod('theirs', 'worker-b')];
  expect(orphansOf(found, { ...FACTS, workers: new Set(['worker-b']) })).toEqual([]);
  expect(orphansOf(found, { ...FACTS, workers: new Set() })).toEqual([]);
  expect(orphansOf(found, { ...FACTS, workers: undefined })).toEqual([]);
});

test('a cold runner that nobody has taken for two minutes is in excess', () => {
  expect(orphansOf([pod('cold')], { ...FACTS, nowMs: 119_999 })).toEqual([]);
  expect(names(orphansOf([pod('cold')], { ...FACTS, nowMs: 120_000 }))).toEqual(['cold']);
});

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function setUp() {
  const issued = (n: number) => ({
    authority: `ca${n}`,
    certificate: `cert${n}`,
    key: `key${n}`,
    validToMs: 1,
  });
  const state = {
    workers: { gateways: ['10.0.0.1:8082'], pods: new Set(['worker-a']) } as Workers,
    certificates: { current: issued(1) },
    pods: [] as FoundPod[],
  };
  const gateway = { holds: () => false, setCertificate: vi.fn(), setGateways: vi.fn() };
  const remove = vi.fn(async ({ uid }: { uid: string }) => {
    state.pods = state.pods.filter((one) => one.uid !== uid);
  });
  const publish = vi.fn(async () => undefined);
  const list = vi.fn(async () => state.pods);
  const onCertificate = vi.fn();
  const upkeep = startUpkeep({
    shared: {
      certificates: async () => state.certificates,
      publish,
      workers: async () => state.workers,
    },
    pods: { list, remove },
    gateway,
    lookAtPools: async () => undefined,
    worker: 'worker-a',
    self: '10.0.0.1:8082',
    certificate: { cert: 'cert1', key: 'key1' },
    onCertificate,
    logger: pino({ level: 'silent' }),
    now: () => 0,
    times: { workersMs: 5, certificatesMs: 5, sweepMs: 10 },
  });
  stops.push(() => upkeep.stop());
  return { state, gateway, remove, publish, list, issued, onCertificate };
}

test('runners are told when the workers are others', async () => {
  const { state, gateway } = setUp();
  await vi.waitFor(() => expect(gateway.setGateways).toHaveBeenCalledWith(['10.0.0.1:8082']));
  state.workers = { gateways: ['10.0.0.1:8082', '10.0.0.2:8082'], pods: new Set(['worker-a', 'worker-b']) };
  await vi.waitFor(() =>
    expect(gateway.setGateways).toHaveBeenLastCalledWith(['10.0.0.1:8082', '10.0.0.2:8082']),
  );
  expect(gateway.setGateways).toHaveBeenCalledTimes(2);
});

test('another certificate is published before it is used', async () => {
  const { state, gateway, publish, issued, onCertificate } = setUp();
  await vi.waitFor(() => expect(publish).toHaveBeenCalled());
  expect(gateway.setCertificate).not.toHaveBeenCalled();
  state.certificates = { current: issued(2) };
  await vi.waitFor(() =>
    expect(gateway.setCertificate).toHaveBeenCalledExactlyOnceWith({ cert: 'cert2', key: 'key2' }),
  );
  expect(publish).toHaveBeenCalledWith(state.certificates);
  expect(onCertificate).toHaveBeenCalledWith(1);
});

test('an orphan is deleted the second time it is seen, and what fails is tried again', async () => {
  const { state, remove, list } = setUp();
  await vi.waitFor(() => expect(list.mock.calls.length).toBeGreaterThan(1));
  list.mockRejectedValueOnce(new Error('no API server'));
  state.pods = [pod('orphan', 'worker-z')];
  await vi.waitFor(() => expect(remove).toHaveBeenCalledExactlyOnceWith(pod('orphan', 'worker-z')));
});
