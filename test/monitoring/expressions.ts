const WORDS = new Set(
  (
    'by without on ignoring group_left group_right bool offset and or unless ' +
    'sum min max avg count topk bottomk quantile stddev stdvar group'
  ).split(' '),
);

/** The names of metrics in an expression of PromQL. Not a parser, but it knows what cannot be one. */
export function metricsOf(expression: string): ReadonlySet<string> {
  const bare = expression
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '')
    .replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, ' ')
    .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\boffset\s+\w+/g, ' ');
  return new Set(
    [...bare.matchAll(/(?<![\w:.])([a-zA-Z_:][\w:]*)(\s*\()?/g)]
      .filter(([, name, call]) => call === undefined && !WORDS.has(name!))
      .map(([, name]) => name!),
  );
}

/** Which labels an expression asks of which metric: `x{a="b"}` asks x for a. */
export function selectionsOf(expression: string): readonly (readonly [metric: string, label: string])[] {
  return [...expression.matchAll(/([a-zA-Z_:][\w:]*)\{([^}]*)\}/g)].flatMap(([, metric, inner]) =>
    [...inner!.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label]) => [metric!, label!] as const),
  );
}
