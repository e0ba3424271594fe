import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { appError } from '../../core/errors/app-error.ts';

/** What a cursor is good for: the same list, of the same tenant, with the same filters. */
export interface CursorBinding {
  readonly list: string;
  readonly tenantId: string;
  readonly filters: Readonly<Record<string, unknown>>;
}

/** A page's end as an opaque text that its reader can neither read meaning into nor forge. */
export interface Cursors {
  /** @param position where the next page begins, as a list of texts that `decode` gives back */
  encode(position: readonly string[], binding: CursorBinding): string;
  /** @throws AppError `invalid_cursor` for one that was not made here with the same binding */
  decode(cursor: string, binding: CursorBinding): readonly string[];
}

/** The order in which filters are written does not matter. */
const sortedEntries = (filters: Readonly<Record<string, unknown>>): readonly unknown[] =>
  Object.entries(filters).sort(([a], [b]) => (a < b ? -1 : 1));

const FORMAT = /^([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]{43})$/;

export function createCursors(secret: string): Cursors {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'millrace list cursors', 32));
  const sign = (payload: string, { list, tenantId, filters }: CursorBinding): Buffer =>
    createHmac('sha256', key)
      .update(JSON.stringify([list, tenantId, sortedEntries(filters), payload]))
      .digest();
  return {
    encode(position, binding) {
      const payload = Buffer.from(JSON.stringify(position)).toString('base64url');
      return `${payload}.${sign(payload, binding).toString('base64url')}`;
    },
    decode(cursor, binding) {
      const [, payload, mac] = FORMAT.exec(cursor) ?? [];
      if (payload === undefined || mac === undefined) throw appError('invalid_cursor');
      const given = Buffer.from(mac, 'base64url');
      if (!timingSafeEqual(given, sign(payload, binding))) throw appError('invalid_cursor');
      return JSON.parse(Buffer.from(payload, 'base64url').toString()) as readonly string[]; // signed by us
    },
  };
}
