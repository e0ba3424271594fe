import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { AppError } from '../errors/app-error.ts';
import { parseFailpoints } from '../failpoints.ts';
import { checkProduction } from './production.ts';

const good = {
  ENVIRONMENT: 'production',
  ENCRYPTION_KEY: { current: randomBytes(32) },
  JWT_SECRET: randomBytes(32).toString('hex'),
  PUBLIC_URL: 'https://mill.example.com',
  MILLRACE_FAILPOINTS: parseFailpoints(''),
} as const;

const problemsOf = (config: Parameters<typeof checkProduction>[0]): readonly string[] => {
  try {
    checkProduction(config);
    return [];
  } catch (error) {
    return (error as AppError).problems.map(({ path }) => path);
  }
};

describe('in production', () => {
  test('random secrets and a public address are fine', () => {
    expect(problemsOf(good)).toEqual([]);
  });

  test('typed secrets and local addresses are refused, all at once', () => {
    const bad = {
      ...good,
      ENCRYPTION_KEY: { current: Buffer.alloc(32, 1) },
      JWT_SECRET: 'x'.repeat(40),
      PUBLIC_URL: 'http://localhost:8080',
    };
    expect(problemsOf(bad)).toEqual(['ENCRYPTION_KEY', 'JWT_SECRET', 'PUBLIC_URL']);
    const typedBefore = { current: randomBytes(32), others: [Buffer.alloc(32, 1)] };
    expect(problemsOf({ ...good, ENCRYPTION_KEY: typedBefore })).toEqual(['ENCRYPTION_KEY']);
    expect(problemsOf({ ...good, PUBLIC_URL: undefined })).toEqual(['PUBLIC_URL']);
  });

  test('development takes them', () => {
    const MILLRACE_FAILPOINTS = parseFailpoints('journal.after-write');
    expect(
      problemsOf({
        ENVIRONMENT: 'development',
        ENCRYPTION_KEY: { current: Buffer.alloc(32) },
        MILLRACE_FAILPOINTS,
      }),
    ).toEqual([]);
  });

  test('a worker has no public address', () => {
    const { ENVIRONMENT, ENCRYPTION_KEY, MILLRACE_FAILPOINTS } = good;
    expect(problemsOf({ ENVIRONMENT, ENCRYPTION_KEY, MILLRACE_FAILPOINTS })).toEqual([]);
  });

  test('failpoints are refused', () => {
    expect(problemsOf({ ...good, MILLRACE_FAILPOINTS: parseFailpoints('hooks.before-hint') })).toEqual([
      'MILLRACE_FAILPOINTS',
    ]);
  });
});
