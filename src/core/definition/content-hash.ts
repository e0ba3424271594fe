import { createHash } from 'node:crypto';
import type { JsonValue } from '../json.ts';
import type { WorkflowDocument } from './document.ts';
import { WORKFLOW_FORMAT } from './format.ts';

/** Files beside a workflow, by path; text, or `{ base64 }`. */
export type WorkflowFiles = Readonly<Record<string, JsonValue>>;

/**
 * SHA-256 (hex) of what a version says: its document and files as canonical JSON. The same for every way to write the YAML:
 * order of keys, quotes, comments and indentation do not count; order in lists does.
 */
export function contentHash(document: WorkflowDocument, files: WorkflowFiles = {}): string {
  const content = canonical({ format: WORKFLOW_FORMAT, document, files });
  return createHash('sha256').update(content).digest('hex');
}

/** JSON with the keys of every object sorted by UTF-16 code units, as in RFC 8785. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(',')}}`;
}
