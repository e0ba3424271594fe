/**
 * The sum of a metric's samples with these labels on a page of the text format; 0 when there is none.
 *
 * @param labels others may be there, too
 */
export function sumOf(page: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return page
    .split('\n')
    .map((line) => /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line))
    .filter((found) => found !== null)
    .filter(([, metric, own = '']) => metric === name && wanted.every((one) => own.split(',').includes(one)))
    .reduce((sum, [, , , value]) => sum + Number(value), 0);
}
