import { expect, test } from 'vitest';
import { filesOf } from './files.ts';

test('filesOf lists what the steps run, in their order', () => {
  const document = {
    steps: [
      { id: 'a', code: 'steps/a.ts' },
      { id: 'b', http: { url: 'https://example.com' } },
      { id: 'c', notebook: 'b.ipynb' },
      { id: 'd', code: 'steps/a.ts' },
      { id: 'e', code: 'e.py' },
    ],
  };
  expect(filesOf(document)).toEqual([
    { path: 'steps/a.ts', kind: 'code', language: 'typescript', stepId: 'a', at: ['steps', 0, 'code'] },
    { path: 'b.ipynb', kind: 'notebook', language: 'python', stepId: 'c', at: ['steps', 2, 'notebook'] },
    { path: 'steps/a.ts', kind: 'code', language: 'typescript', stepId: 'd', at: ['steps', 3, 'code'] },
    { path: 'e.py', kind: 'code', language: 'python', stepId: 'e', at: ['steps', 4, 'code'] },
  ]);
});

test.each([
  undefined,
  [],
  { steps: 5 },
  { steps: [5, {}, { id: 'a', code: 5 }, { code: '../a.ts' }, { code: 'a.rb' }, { notebook: 'a.py' }] },
  { steps: [{ id: 'a', code: 'a.ts', transform: '1' }] },
])('filesOf passes over what is wrong in %j', (document) => {
  expect(filesOf(document)).toEqual([]);
});
