import type * as protocol from '../../core/sandbox/protocol.ts';

/**
 * Numbers of the protocol. Its file brings a schema library along, which has no place in a sandbox; the types make these
 * copies equal to it.
 */
export const PROTOCOL_VERSION: typeof protocol.PROTOCOL_VERSION = 1;
export const MAX_CHUNK_BYTES: typeof protocol.MAX_CHUNK_BYTES = 65_536;
export const BODY_WINDOW_BYTES: typeof protocol.BODY_WINDOW_BYTES = 262_144;
export const MAX_LOG_ENTRY_BYTES: typeof protocol.MAX_LOG_ENTRY_BYTES = 16_384;
export const LOG_ENTRY_COST_BYTES: typeof protocol.LOG_ENTRY_COST_BYTES = 64;
export const MAX_FETCHES: typeof protocol.MAX_FETCHES = 32;
export const LOG_LEVELS: typeof protocol.LOG_LEVELS = ['debug', 'info', 'warn', 'error'];

/** Compiling 5 MiB takes a tenth of a second. */
export const LOAD_MS = 20_000;
/** How often it is looked whether a run has used up its memory without its thread having ended. */
export const MEMORY_CHECK_MS = 500;
/** Runs at a time. */
export const SLOTS = 2;
/** Of a slot's old generation in a sandbox of the usual size; what is above ends the slot alone. */
export const SLOT_HEAP_MB = 64;
const MIB = 1_048_576;
/** What is not for the heaps of slots: the runtime itself, buffers, files. */
const OTHERS_MB = 128;

/** The old generation of each slot in a sandbox that may use `memoryBytes`. */
export const slotHeapMb = (memoryBytes: number): number =>
  Math.max(SLOT_HEAP_MB, Math.floor((memoryBytes / MIB - OTHERS_MB) / SLOTS));
/** Of a slot's young generation: a third of V8's own choice, which is for processes with one heap. */
export const SLOT_YOUNG_HEAP_MB = 8;

/**
 * Sources of the programs that a slot keeps compiled, a thirty-second part of its heap (compiled code and data of a program
 * are about ten times its source); beyond it the oldest is forgotten.
 */
export const maxProgramBytes = (heapMb: number): number => (heapMb * MIB) / 32;
