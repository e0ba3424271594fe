import { printable, printableJson } from './printable.ts';

export const OUTPUT_FORMATS = ['table', 'json'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => unknown;
}

/** Rows in aligned columns under their titles; what is missing is `-`. */
export function formatTable<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const lines = [
    columns.map((column) => column.title.toUpperCase()),
    ...rows.map((row) => columns.map((column) => cell(column.value(row)))),
  ];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]!.length)));
  return lines
    .map((line) =>
      line
        .map((text, index) => text.padEnd(widths[index]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  const text = typeof value === 'string' ? value : printableJson(value);
  return printable(text).replaceAll(/[\n\t]/g, ' ');
}

/** `1.5 s`, for the time between two moments; undefined while one of them is missing. */
export function formatSpan(
  from: string | null | undefined,
  to: string | null | undefined,
): string | undefined {
  if (!from || !to) return undefined;
  const ms = Date.parse(to) - Date.parse(from);
  if (ms < 1000) return `${ms} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
