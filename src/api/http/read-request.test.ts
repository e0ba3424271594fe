import { describe, expect, test } from 'vitest';
import { z } from '../../core/zod.ts';
import { booleanParam, limitParam, timeParam, waitParam } from './params.ts';
import { mediaTypeOf, readQuery } from './read-request.ts';

describe('readQuery', () => {
  const schema = z.strictObject({
    limit: limitParam,
    dryRun: booleanParam(''),
    from: timeParam(''),
    wait: waitParam,
  });
  const problemsOf = (url: string): readonly { path: string }[] => {
    try {
      readQuery(url, schema);
    } catch (error) {
      return (error as { problems: { path: string }[] }).problems;
    }
    throw new Error(`${url} was not refused`);
  };

  test('fills in defaults', () => {
    expect(readQuery('/x', schema)).toEqual({ limit: 50, dryRun: false });
    expect(readQuery('/x?', schema)).toEqual({ limit: 50, dryRun: false });
  });

  test('reads numbers, times, durations and booleans', () => {
    expect(readQuery('/x?limit=7&dryRun=true&from=2026-01-31T12:00:00%2B01:00&wait=1500ms', schema)).toEqual({
      limit: 7,
      dryRun: true,
      from: new Date('2026-01-31T11:00:00Z'),
      wait: 1500,
    });
  });

  test('tells every problem at once', () => {
    const problems = problemsOf('/x?limit=0&limit=1&dryRun=1&from=now&wait=1h&colour=red');
    expect(problems.map(({ path }) => path).sort()).toEqual([
      'query.colour',
      'query.dryRun',
      'query.from',
      'query.limit',
      'query.limit',
      'query.wait',
    ]);
  });

  test.each(['__proto__=1', 'constructor=1', 'toString=1', 'limit[]=1', 'a=1;limit=2'])(
    'refuses ?%s',
    (query) => {
      expect(problemsOf(`/x?${query}`)).toHaveLength(1);
    },
  );
});

describe('mediaTypeOf', () => {
  test.each([
    ['application/json', 'application/json'],
    [' Application/JSON ; charset=UTF-8', 'application/json'],
    ['application/yaml;charset="utf-8"', 'application/yaml'],
  ])('%j is %s', (header, type) => {
    expect(mediaTypeOf(header)).toBe(type);
  });

  test.each([
    undefined,
    '',
    'json',
    'application/json, text/plain',
    'application/json; charset=latin1',
    'a/b/c',
  ])('%j is none', (header) => {
    expect(mediaTypeOf(header)).toBeUndefined();
  });
});
