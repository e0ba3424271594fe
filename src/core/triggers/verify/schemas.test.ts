import { describe, expect, test } from 'vitest';
import { z } from '../../zod.ts';
import { KNOWN_SCHEMES_NOT_YET, VERIFY_SCHEMES, verifySchema } from './schemas.ts';

const hmac = { scheme: 'hmac', credential: 'acme', header: 'X-Sig' };

describe('verifySchema', () => {
  test.each([
    [{ scheme: 'none' }],
    [{ scheme: 'github', credential: 'gh' }],
    [{ scheme: 'stripe', credential: 'stripe-webhook' }],
    [{ scheme: 'slack', credential: 'slack2' }],
    [{ scheme: 'standard-webhooks', credential: 'svix' }],
    [{ ...hmac, template: '{timestamp}.{body}', timestampHeader: 'X-Time' }],
    [{ ...hmac, template: '{timestamp}{body}', timestampHeader: 'X-Time' }],
    [{ ...hmac, template: '{id}.{body}', idHeader: 'X-Id' }],
    [{ ...hmac, idHeader: 'X-Id' }],
  ])('takes %j', (config) => {
    expect(verifySchema.safeParse(config).error).toBeUndefined();
  });

  test('fills in the defaults of hmac', () => {
    expect(verifySchema.parse(hmac)).toEqual({
      ...hmac,
      algorithm: 'sha256',
      template: '{body}',
      encoding: 'hex',
      prefix: '',
      toleranceS: 300,
    });
  });

  test.each([
    [{ scheme: 'github' }, 'credential', /./],
    [{ scheme: 'github', credential: 'GH' }, 'credential', /lower-case/],
    [{ scheme: 'github', credential: 'a--b' }, 'credential', /single hyphens/],
    [{ scheme: 'github', credential: 'x'.repeat(64) }, 'credential', /63/],
    [{ scheme: 'github', credential: 'https' }, 'credential', /URL scheme/],
    [{ scheme: 'none', credential: 'x' }, '', /credential/],
    [{ ...hmac, algorithm: 'md5' }, 'algorithm', /sha256/],
    [{ ...hmac, toleranceS: 301 }, 'toleranceS', /300/],
    [{ ...hmac, toleranceS: 0 }, 'toleranceS', /1/],
    [{ ...hmac, header: 'X Sig' }, 'header', /header name/],
    [{ ...hmac, template: 'x' }, 'template', /must contain \{body\}/],
    [{ ...hmac, template: '{bdy}' }, 'template', /allowed are \{body\}, \{timestamp\}, \{id\}/],
    [{ ...hmac, template: '{body}{body}' }, 'template', /repeat/],
    [{ ...hmac, template: '{timestamp}.{body}' }, 'timestampHeader', /needed/],
    [{ ...hmac, template: '{id}.{body}' }, 'idHeader', /needed/],
    [{ ...hmac, timestampHeader: 'X-Time' }, 'template', /unsigned timestamp/],
    [{ ...hmac, template: '{id}{body}', idHeader: 'X-Id' }, 'template', /ambiguous/],
    [{ ...hmac, template: '{body}{id}', idHeader: 'X-Id' }, 'template', /ambiguous/],
  ])('refuses %j at %s', (config, path, message) => {
    const issues = verifySchema.safeParse(config).error?.issues ?? [];
    expect(issues.map((issue) => issue.path.join('.'))).toContain(path);
    expect(issues.map((issue) => issue.message).join('\n')).toMatch(message);
  });

  test('makes a JSON Schema with a description on every property', () => {
    const schema = z.toJSONSchema(verifySchema, { io: 'input' });
    const variants = (schema.oneOf ?? schema.anyOf ?? []) as {
      properties: Record<string, { description?: string }>;
    }[];
    expect(variants).toHaveLength(VERIFY_SCHEMES.length);
    for (const { properties } of variants) {
      for (const [name, property] of Object.entries(properties)) {
        if (name !== 'scheme') expect(property.description, name).toBeTypeOf('string');
      }
    }
  });

  test('has no scheme both known-for-later and built', () => {
    expect(
      KNOWN_SCHEMES_NOT_YET.filter((name) => (VERIFY_SCHEMES as readonly string[]).includes(name)),
    ).toEqual([]);
  });
});
