import { createFrameDecoder, encodeFrame } from '../../core/sandbox/frames.ts';
import type { GatewayHeader, RegistrationHeader } from '../../core/sandbox/protocol.ts';
import { PROTOCOL_VERSION } from '../javascript/limits.ts';
import { readAll, writeAll } from './bytes.ts';
import type { Connection } from './deno.ts';
import type { Runtime } from './local-runner.ts';

const TICK_MS = 500;
/** Gateways ping every 15 s; one that has said nothing for so long is gone. */
const SILENT_MS = 50_000;
/** The network of a pod that has just started may still drop what it sends, and TCP then takes ever longer to try again. */
const REGISTER_MS = 5000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export interface GatewaysOptions {
  readonly runtime: Runtime;
  /** Any worker's gateway; undefined while none is known. */
  readonly anyAddress: () => Promise<string | undefined>;
  readonly connect: (address: string) => Promise<Connection>;
  readonly token: () => Promise<string>;
  /** This pod has been claimed before: it asks to be deleted, and is not claimed again. */
  readonly isUsed?: boolean;
  /** Resolves before anybody is told that the runner is theirs. */
  readonly onClaim?: () => Promise<void>;
  /** Said first to whoever claims the runner, after `claimed`. */
  readonly ready?: Uint8Array;
  readonly onRegistered?: () => void;
  readonly log: (message: string, fields?: Readonly<Record<string, string>>) => void;
  readonly now: () => number;
}

interface Link {
  /** Of the worker at the other end; of the Service until it has said which it is. */
  address: string;
  connection: Connection | undefined;
  isRegistered: boolean;
  heardAtMs: number;
}

/** A worker that has claimed this runner, right after it was told so. */
export interface Claim {
  readonly connection: Connection;
}

/**
 * Keeps a connection to the gateway of every worker, until one of them claims the runner.
 *
 * The address of the Service leads to some worker, which tells where the others are; it is used again when no connection
 * is left.
 */
export function awaitClaim(options: GatewaysOptions): Promise<Claim> {
  const { log, now } = options;
  const links = new Set<Link>();
  const retries = new Map<string, { atMs: number; delayMs: number }>();
  const claim = Promise.withResolvers<Claim>();
  let known: readonly string[] = [];
  let isClaimed = false;
  let isLooking = false;

  const mayBeClaimed = (): boolean => !isClaimed && options.isUsed !== true;
  const linked = (address: string): boolean => [...links].some((link) => link.address === address);
  const mayTry = (address: string): boolean => (retries.get(address)?.atMs ?? 0) <= now();
  const failed = (address: string): void => {
    const before = retries.get(address)?.delayMs;
    const delayMs = Math.min(before === undefined ? FIRST_RETRY_MS : before * 2, LAST_RETRY_MS);
    retries.set(address, { atMs: now() + delayMs, delayMs });
  };
  const send = (link: Link, header: RegistrationHeader, more?: Uint8Array): Promise<void> => {
    const frame = encodeFrame(header);
    if (more === undefined) return writeAll(link.connection!, frame); // it is connected
    const both = new Uint8Array(frame.length + more.length);
    both.set(frame);
    both.set(more, frame.length);
    return writeAll(link.connection!, both);
  };
  const drop = (link: Link): void => {
    links.delete(link);
    try {
      link.connection?.close();
    } catch {
      // Closed already.
    }
  };
  const giveUpOthers = (winner: Link): void => {
    for (const link of links) {
      if (link === winner || link.connection === undefined) continue;
      send(link, { type: 'busy' })
        .catch(() => undefined)
        .finally(() => drop(link));
    }
  };

  const onHeader = async (link: Link, header: GatewayHeader): Promise<void> => {
    link.heardAtMs = now();
    switch (header.type) {
      case 'registered':
        known = header.gateways;
        if (header.self !== link.address && linked(header.self)) throw new Error('connected already');
        link.address = header.self;
        link.isRegistered = true;
        retries.delete(header.self);
        log('registered', { gateway: header.self });
        options.onRegistered?.();
        break;
      case 'gateways':
        known = header.gateways;
        break;
      case 'ping':
        await send(link, { type: 'pong', ping: header.ping });
        break;
      case 'refused':
        throw new Error(`refused: ${header.reason}`);
      case 'claim':
        if (!mayBeClaimed()) break; // it is told so, with the others
        isClaimed = true;
        clearInterval(timer);
        giveUpOthers(link);
        try {
          await options.onClaim?.();
          await send(link, { type: 'claimed' }, options.ready);
        } catch (raw) {
          claim.reject(raw); // whose it is now, nobody can say
          throw raw;
        }
        log('claimed', { gateway: link.address });
        break;
      default:
        header satisfies never;
    }
  };
  const converse = async (link: Link): Promise<void> => {
    const decoder = createFrameDecoder();
    const connection = link.connection!; // it is connected
    await send(link, {
      type: 'register',
      protocol: PROTOCOL_VERSION,
      runtime: options.runtime,
      token: await options.token(),
      ...(options.isUsed === true && { isUsed: true }),
    });
    const isOurs = await readUntil(connection, async (bytes) => {
      for (const { header } of decoder.push(bytes)) {
        const isFirst = mayBeClaimed();
        await onHeader(link, header as GatewayHeader);
        if (isFirst && (header as GatewayHeader).type === 'claim') return true;
      }
      return false;
    });
    if (!isOurs) throw new Error('it hung up');
    links.delete(link);
    claim.resolve({ connection });
  };
  const open = async (address: string): Promise<void> => {
    const link: Link = { address, connection: undefined, isRegistered: false, heardAtMs: now() };
    links.add(link);
    try {
      link.connection = await options.connect(address);
      if (isClaimed || !links.has(link)) drop(link);
      else await converse(link);
    } catch (raw) {
      drop(link);
      if (isClaimed) return;
      failed(link.address);
      log('not registered', { gateway: link.address, reason: String(raw) });
    }
  };
  const look = async (): Promise<void> => {
    for (const link of links) {
      const silentMs = now() - link.heardAtMs;
      if (silentMs > (link.isRegistered ? SILENT_MS : REGISTER_MS)) drop(link);
    }
    for (const address of known) if (!linked(address) && mayTry(address)) void open(address);
    if (links.size > 0 || isLooking) return;
    isLooking = true;
    try {
      const address = await options.anyAddress();
      if (address !== undefined && links.size === 0 && !isClaimed && mayTry(address)) void open(address);
    } finally {
      isLooking = false;
    }
  };
  const timer = setInterval(() => void look(), TICK_MS);
  void look();
  return claim.promise;
}

/** Reads until `isDone` says so; false when the other side ends before. What comes after is left unread. */
async function readUntil(
  connection: Connection,
  isDone: (bytes: Uint8Array) => Promise<boolean>,
): Promise<boolean> {
  const done = new Error('done');
  try {
    await readAll(connection, async (bytes) => {
      if (await isDone(bytes)) throw done;
    });
    return false;
  } catch (raw) {
    if (raw === done) return true;
    throw raw;
  }
}
