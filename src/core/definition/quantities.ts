/**
 * Amounts of `resources`, written as in Kubernetes
 * (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/): cores as `2`, `0.5` or `500m`,
 * memory as bytes or with a unit, `512Mi` or `1Gi`. The spellings with exponents are left out.
 */

export const CPU_PATTERN = /^(?:\d{1,6}m|\d{1,3}(?:\.\d{1,3})?)$/;
export const MEMORY_PATTERN = /^(\d{1,15}(?:\.\d{1,3})?)(Ki|Mi|Gi|Ti|k|M|G|T)?$/;

const KIBI = 1024;
const UNIT_BYTES = {
  Ki: KIBI,
  Mi: KIBI ** 2,
  Gi: KIBI ** 3,
  Ti: KIBI ** 4,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
} as const;
type Unit = keyof typeof UNIT_BYTES;
/** Largest first, as `formatMemory` tries them. */
const BINARY_UNITS = ['Ti', 'Gi', 'Mi', 'Ki'] as const satisfies readonly Unit[];

export const MEBIBYTE = UNIT_BYTES.Mi;
export const GIBIBYTE = UNIT_BYTES.Gi;

/** Cores, to a thousandth; undefined when it is no amount of them. */
export function parseCpus(written: number | string): number | undefined {
  if (typeof written === 'string' && !CPU_PATTERN.test(written)) return undefined;
  const cores =
    typeof written === 'string' && written.endsWith('m')
      ? Number(written.slice(0, -1)) / 1000
      : Number(written);
  return Number.isFinite(cores) && cores >= 0 ? Math.round(cores * 1000) / 1000 : undefined;
}

/** Whole bytes; undefined when it is no amount of them, or one too large to be counted exactly. */
export function parseMemory(written: number | string): number | undefined {
  if (typeof written === 'number') return Number.isSafeInteger(written) && written >= 0 ? written : undefined;
  const match = MEMORY_PATTERN.exec(written);
  if (match === null) return undefined;
  const [, amount, unit] = match;
  // The pattern's second group holds only units.
  const bytes = Math.ceil(Number(amount) * (unit === undefined ? 1 : UNIT_BYTES[unit as Unit]));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest text that `parseMemory` reads back as `bytes`. */
export function formatMemory(bytes: number): string {
  const unit = BINARY_UNITS.find((candidate) => bytes > 0 && bytes % UNIT_BYTES[candidate] === 0);
  return unit === undefined ? String(bytes) : `${bytes / UNIT_BYTES[unit]}${unit}`;
}
