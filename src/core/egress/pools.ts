import type { LookupFunction } from 'node:net';
import { buildConnector, Pool, type Dispatcher } from 'undici';
import { terminalError } from '../step-error.ts';
import { normalizeAddress } from './addresses.ts';
import type { Destination } from './destination.ts';

export interface PoolOptions {
  readonly connectTimeoutMs: number;
  readonly connectionsPerOrigin: number;
}

/** Keeps connections for further requests to the same checked destination. */
export interface Pools {
  /** To be used at once: a pool that was not asked for lately may be closed when another one is. */
  for(destination: Destination): Dispatcher;
  /** Waits for requests in flight. */
  close(): Promise<void>;
}

const MAX_POOLS = 256;
const MAX_RESPONSE_HEADER_BYTES = 65_536;

export function createPools(options: PoolOptions): Pools {
  const pools = new Map<string, Pool>(); // in order of use
  const closing = new Set<Promise<void>>();

  const retire = (pool: Pool): void => {
    const closed = pool.close().finally(() => closing.delete(closed));
    closing.add(closed);
  };

  return {
    for: (destination) => {
      const { poolKey } = destination;
      const pool = pools.get(poolKey) ?? createPool(destination, options);
      pools.delete(poolKey);
      pools.set(poolKey, pool);
      if (pools.size > MAX_POOLS) {
        for (const [oldestKey, oldest] of pools) {
          pools.delete(oldestKey);
          retire(oldest);
          break;
        }
      }
      return pool;
    },
    close: async () => {
      for (const pool of pools.values()) retire(pool);
      pools.clear();
      await Promise.all(closing);
    },
  };
}

/** Proxy variables of the environment play no part: undici reads them only in its EnvHttpProxyAgent. */
function createPool(destination: Destination, options: PoolOptions): Pool {
  return new Pool(destination.origin, {
    connect: checkedConnector(destination, options.connectTimeoutMs),
    connections: options.connectionsPerOrigin,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
    // The request's own deadline covers both.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

/**
 * Connects to the checked addresses and no other: the name is not resolved again, several addresses are tried as in
 * RFC 8305, and the peer's address is compared once the socket is there, before a byte is written.
 */
function checkedConnector({ addresses, label }: Destination, timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({
    timeout: timeoutMs,
    allowH2: false,
    lookup: lookupOf(addresses),
    autoSelectFamily: true,
  });
  return (target, callback) => {
    connect(target, (error, socket) => {
      if (error !== null || socket === null) {
        callback(error ?? new Error('no socket'), null);
        return;
      }
      const peer = normalizeAddress(socket.remoteAddress ?? '');
      if (peer !== undefined && addresses.includes(peer)) {
        callback(null, socket);
        return;
      }
      socket.destroy();
      callback(
        terminalError(
          'egress_denied',
          `The connection to ${label} ended up at an address that was not checked`,
        ),
        null,
      );
    });
  };
}

function lookupOf(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  return (_hostname, options, callback) => {
    const [first] = all;
    if (options.all === true) callback(null, all);
    else callback(null, first?.address ?? '', first?.family);
  };
}
