import { keyFromHeader, usableKey } from './dedupe.ts';
import { decodeBase64, decodeHexOfEitherCase } from './encoding.ts';
import { requireHeader } from './headers.ts';
import { DIGEST_BYTES } from './keys.ts';
import type { Scheme } from './scheme.ts';
import type { HmacVerifyConfig } from './schemas.ts';
import { idSeparators, parseTemplate } from './template.ts';
import { timestampProblem } from './timestamp.ts';
import { refused } from './types.ts';

/** The configurable scheme: one HMAC in one header, over a template of body, timestamp and id. */
export function hmacScheme(config: HmacVerifyConfig): Scheme {
  const parts = parseTemplate(config.template);
  const separators = idSeparators(parts);
  const isIdSigned = parts.some((part) => part.placeholder === 'id');
  const header = config.header.toLowerCase();
  const timestampHeader = config.timestampHeader?.toLowerCase();
  const idHeader = config.idHeader?.toLowerCase();
  const decode = config.encoding === 'hex' ? decodeHexOfEitherCase : decodeBase64;
  const length = DIGEST_BYTES[config.algorithm];

  return {
    read: ({ rawHeaders, body, nowMs }) => {
      const signature = requireHeader(rawHeaders, header);
      if (!signature.ok) return signature;
      if (!signature.value.startsWith(config.prefix)) return refused(`${header} lacks the configured prefix`);
      const mac = decode(signature.value.slice(config.prefix.length), length);
      if (mac === undefined) return refused(`${header} is not ${length} bytes in ${config.encoding}`);
      const values = { body, timestamp: '', id: '' };
      if (timestampHeader !== undefined) {
        const timestamp = requireHeader(rawHeaders, timestampHeader);
        if (!timestamp.ok) return timestamp;
        const problem = timestampProblem(timestamp.value, nowMs, config.toleranceS);
        if (problem !== undefined) return refused(problem);
        values.timestamp = timestamp.value;
      }
      if (isIdSigned && idHeader !== undefined) {
        const id = requireHeader(rawHeaders, idHeader);
        if (!id.ok) return id;
        if (usableKey(id.value) === undefined || separators.some((text) => id.value.includes(text))) {
          return refused(
            `${idHeader} is not 1 to 255 printable characters free of the template’s separators`,
          );
        }
        values.id = id.value;
      }
      const signed = parts.map((part) =>
        part.placeholder === undefined ? part.literal : values[part.placeholder],
      );
      return { ok: true, signed, macs: [mac] };
    },
    accept: ({ rawHeaders }) => ({
      ok: true,
      dedupeKey: keyFromHeader(rawHeaders, idHeader ?? 'idempotency-key'),
    }),
  };
}
