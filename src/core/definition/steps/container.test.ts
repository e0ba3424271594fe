import { describe, expect, test } from 'vitest';
import { valueCompiler } from '../values.ts';
import { container, renderContainer, secretVariable } from './container.ts';

const render = (body: Omit<Parameters<typeof container.compile>[0]['container'], 'image'>, x?: unknown) =>
  renderContainer(container.compile({ container: { image: 'a', ...body } }, valueCompiler(['trigger'])), {
    trigger: { x },
  });

describe('renderContainer', () => {
  test('keeps to the image where nothing is said', () => {
    expect(render({})).toEqual({ command: undefined, args: undefined, env: {} });
  });

  test('renders what the container is started with', () => {
    const body = {
      command: ['convert', 5],
      args: ['--name=${{ trigger.x.name }}', '${{ trigger.x.count }}', true],
      env: { A: '${{ trigger.x.name }}', B: '${{ trigger.x.none }}', C: 1 },
    };
    expect(render(body, { name: '$(reboot)', count: 2, none: null })).toEqual({
      command: ['convert', '5'],
      args: ['--name=$(reboot)', '2', 'true'],
      env: { A: '$(reboot)', C: '1' },
    });
  });

  test.each([
    [{ args: ['${{ trigger.x }}'] }, [1]],
    [{ args: ['${{ trigger.x }}'] }, null],
    [{ command: ['${{ trigger.x }}'] }, 'a\0b'],
    [{ env: { A: '${{ trigger.x }}' } }, { a: 1 }],
  ])('refuses %j with %j, for good', (body, x) => {
    expect(() => render(body, x)).toThrow(
      expect.objectContaining({ code: 'invalid_input', retryable: false }),
    );
  });
});

test('a secret is found in a variable of its name', () => {
  expect(secretVariable('signing-key-2')).toBe('SIGNING_KEY_2');
});
