/** A chart with a common x axis in minutes. */
export interface Panel {
  readonly title: string;
  readonly lines: readonly {
    readonly name: string;
    readonly points: readonly (readonly [x: number, y: number])[];
  }[];
}

const WIDTH = 720;
const PANEL_HEIGHT = 150;
const LEFT = 64;
const RIGHT = 16;
const TOP = 40;
const GAP = 46;
/** Distinguishable without colours, too: the second line is dashed. */
const STYLES = ['stroke="#0b6e4f"', 'stroke="#c8553d" stroke-dasharray="5 3"'] as const;

/** Draws panels below each other as an SVG with its own background, legible in light and dark pages. */
export function drawLines(title: string, panels: readonly Panel[]): string {
  const height = TOP + panels.length * (PANEL_HEIGHT + GAP);
  const xs = panels.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(([x]) => x)));
  const maxX = Math.max(1, ...xs);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
<text x="${LEFT}" y="22" font-size="13">${escape(title)}</text>
${panels.map((panel, index) => drawPanel(panel, TOP + index * (PANEL_HEIGHT + GAP), maxX)).join('\n')}
</svg>
`;
}

function drawPanel({ title, lines }: Panel, top: number, maxX: number): string {
  const bottom = top + PANEL_HEIGHT;
  const highest = Math.max(0, ...lines.flatMap(({ points }) => points.map(([, y]) => y)));
  const maxY = niceCeiling(highest);
  const toX = (x: number): string => (LEFT + (x / maxX) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const toY = (y: number): string => (bottom - (y / maxY) * (PANEL_HEIGHT - 24)).toFixed(1);
  const ticks = [0, maxY / 2, maxY].map(
    (y) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${toY(y)}" y2="${toY(y)}" stroke="#ddd"/><text x="${LEFT - 6}" y="${toY(y)}" dy="4" text-anchor="end">${label(y)}</text>`,
  );
  const drawn = lines.map(
    ({ points }, index) =>
      `<polyline fill="none" stroke-width="1.5" ${STYLES[index % STYLES.length]} points="${points.map(([x, y]) => `${toX(x)},${toY(y)}`).join(' ')}"/>`,
  );
  const legend = lines.map(
    ({ name }, index) =>
      `<line x1="${WIDTH - 250 + index * 120}" x2="${WIDTH - 226 + index * 120}" y1="${top + 4}" y2="${top + 4}" stroke-width="2" ${STYLES[index % STYLES.length]}/><text x="${WIDTH - 220 + index * 120}" y="${top + 8}">${escape(name)}</text>`,
  );
  return [
    `<text x="${LEFT}" y="${top + 8}">${escape(title)}</text>`,
    ...legend,
    ...ticks,
    ...drawn,
    `<text x="${LEFT}" y="${bottom + 16}">0</text><text x="${WIDTH - RIGHT}" y="${bottom + 16}" text-anchor="end">${maxX.toFixed(0)} min</text>`,
  ].join('\n');
}

/** 1, 2 or 5 times a power of ten. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= value) ?? 10);
}

const label = (value: number): string => (value >= 1000 ? `${value / 1000}k` : String(value));
const escape = (text: string): string =>
  text.replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character] ?? '');
