import { describe, expect, test } from 'vitest';
import { isIdentifier, isKebabName, stepReference } from './names.ts';

describe('isKebabName', () => {
  test.each(['a', 'order-intake', 'a1-2b', 'a'.repeat(63)])('takes %s', (name) => {
    expect(isKebabName(name)).toBe(true);
  });
  test.each(['', 'A', '1a', '-a', 'a-', 'a--b', 'a_b', 'a b', 'a.b', 'é', 'a\n', 'a'.repeat(64)])(
    'refuses %j',
    (name) => {
      expect(isKebabName(name)).toBe(false);
    },
  );
});

describe('isIdentifier', () => {
  test.each(['a', 'my_step', 'my-step', 'myStep', 'A1', 'a'.repeat(63)])('takes %s', (name) => {
    expect(isIdentifier(name)).toBe(true);
  });
  test.each(['', '1a', '_a', 'a_', 'a-', 'a__b', 'a.b', 'a b', '__proto__', 'a\n', 'a'.repeat(64)])(
    'refuses %j',
    (name) => {
      expect(isIdentifier(name)).toBe(false);
    },
  );
});

test('a step is read by its name, or in brackets when it has a dash', () => {
  expect(stepReference('my_step')).toBe('steps.my_step');
  expect(stepReference('my-step')).toBe('steps["my-step"]');
});
