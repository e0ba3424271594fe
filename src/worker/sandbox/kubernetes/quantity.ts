const FACTORS: Readonly<Record<string, number>> = {
  m: 0.001,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A resource quantity of Kubernetes (`500m`, `256Mi`) as a number; undefined for what is none. */
export function parseQuantity(text: string | undefined): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(m|[kMGT]|[KMGT]i|)$/.exec(text ?? '') ?? [];
  if (number === undefined || unit === undefined) return undefined;
  // Thousandths of cores are no binary fractions.
  return Math.round(Number(number) * FACTORS[unit]! * 1000) / 1000; // the pattern has these units alone
}
