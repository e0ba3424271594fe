import { parse } from 'csv-parse';
import { parse as parseSync } from 'csv-parse/sync';
export default async () => {
  const rows = [];
  for await (const row of parse('a,b\n1,2', { columns: true })) rows.push(row);
  return [rows, parseSync('a;b', { delimiter: ';' })];
};
