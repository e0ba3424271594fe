const MIB = 1024 * 1024;

/** What a workflow may bring along; more is refused when it is saved. */
export const BUNDLE_LIMITS = {
  /** JavaScript of one step, with all that it imports. */
  bundleBytes: 5 * MIB,
  /** A source map beyond this is left out: stack traces then name the bundle's lines. */
  mapBytes: 8 * MIB,
  /** Source text that is given to the bundler for one step. */
  sourceBytes: 20 * MIB,
  /** Python modules of a workflow, together. */
  pythonBytes: 5 * MIB,
  /** Wheels of a workflow, together. */
  wheelBytes: 50 * MIB,
  /** All wheels of a workflow, unpacked. */
  unpackedBytes: 500 * MIB,
  unpackedFiles: 20_000,
  files: 2000,
} as const;

export const mebibytes = (bytes: number): string => `${Math.round((bytes / MIB) * 10) / 10} MiB`;
