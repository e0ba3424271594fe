import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createFileTree, type FileTree, type Folder } from './file-tree.ts';

/** Every path of a tree: folders end with `/`, links say where they lead. */
function listOf(folder: Folder<string>, above = ''): readonly string[] {
  return [...folder.children].flatMap(([name, node]) => {
    const path = `${above}${name}`;
    if (node.type === 'folder') return [`${path}/`, ...listOf(node, `${path}/`)];
    return [node.type === 'link' ? `${path} -> ${node.target}` : `${path} = ${node.content}`];
  });
}
const build = (...layers: readonly ((tree: FileTree<string>) => void)[]): readonly string[] => {
  const tree = createFileTree<string>();
  for (const layer of layers) {
    tree.beginLayer();
    layer(tree);
  }
  return listOf(tree.root).toSorted();
};

describe('a layer', () => {
  test.each<[string, readonly string[], readonly string[]]>([
    [
      'makes the folders above its files',
      build((tree) => tree.addFile('a/b/c', '1')),
      ['a/', 'a/b/', 'a/b/c = 1'],
    ],
    [
      'begins paths with ./ or /',
      build((tree) => {
        tree.addFolder('./');
        tree.addFile('./a', '1');
        tree.addFile('/b', '2');
      }),
      ['a = 1', 'b = 2'],
    ],
    [
      'replaces files of earlier ones',
      build(
        (tree) => tree.addFile('a', '1'),
        (tree) => tree.addFile('a', '2'),
      ),
      ['a = 2'],
    ],
    [
      'adds to folders of earlier ones',
      build(
        (tree) => tree.addFile('a/b', '1'),
        (tree) => {
          tree.addFolder('a');
          tree.addFile('a/c', '2');
        },
      ),
      ['a/', 'a/b = 1', 'a/c = 2'],
    ],
    [
      'replaces a folder with all that is in it by a file',
      build(
        (tree) => tree.addFile('a/b', '1'),
        (tree) => tree.addFile('a', '2'),
      ),
      ['a = 2'],
    ],
    [
      'replaces a link by a folder, not what it leads to',
      build(
        (tree) => {
          tree.addFile('usr/bin/sh', '1');
          tree.addLink('bin', 'usr/bin');
        },
        (tree) => tree.addFolder('bin'),
      ),
      ['bin/', 'usr/', 'usr/bin/', 'usr/bin/sh = 1'],
    ],
    [
      'writes through links of folders, as far as the image goes',
      build(
        (tree) => tree.addLink('bin', 'usr/bin'),
        (tree) => tree.addFile('bin/sh', '1'),
      ),
      ['bin -> usr/bin', 'usr/', 'usr/bin/', 'usr/bin/sh = 1'],
    ],
    [
      'stays inside where links lead out',
      build((tree) => {
        tree.addLink('out', '../../../../etc');
        tree.addLink('root', '/');
        tree.addFile('out/passwd', '1');
        tree.addFile('root/a', '2');
      }),
      ['a = 2', 'etc/', 'etc/passwd = 1', 'out -> ../../../../etc', 'root -> /'],
    ],
    [
      'never writes through a link at the end of a path',
      build((tree) => {
        tree.addLink('a', '/etc/passwd');
        tree.addFile('a', '1');
      }),
      ['a = 1'],
    ],
    [
      'gives one file several names',
      build(
        (tree) => tree.addFile('a/b', '1'),
        (tree) => tree.addHardLink('c', 'a/b'),
        (tree) => tree.hide('a/b'),
      ),
      ['a/', 'c = 1'],
    ],
  ])('%s', (_, found, expected) => {
    expect(found).toEqual(expected);
  });

  test.each<[string, (tree: FileTree<string>) => void, RegExp]>([
    [
      'a path that leads upwards',
      (tree) => tree.addFile('../evil', ''),
      /leads out of its folder: "\.\.\/evil"/,
    ],
    ['`..` within a path', (tree) => tree.addFile('a/../../evil', ''), /leads out/],
    ['a folder above all', (tree) => tree.addFolder('/..'), /leads out/],
    ['a hard link that leads upwards', (tree) => tree.addHardLink('a', '../../etc/passwd'), /leads out/],
    ['a hard link to what is not there', (tree) => tree.addHardLink('a', '/etc/passwd'), /no file of it/],
    ['a hard link to a folder', (tree) => tree.addHardLink('a', '/'), /no file of it/],
    ['a file without a name', (tree) => tree.addFile('/', ''), /without a name/],
    ['a name with NUL', (tree) => tree.addFile('a\0b', ''), /no file can have/],
    ['a name of 256 bytes', (tree) => tree.addFile('é'.repeat(128), ''), /no file can have/],
    ['a link without target', (tree) => tree.addLink('a', ''), /leads to no path/],
    [
      'links in a circle',
      (tree) => {
        tree.addLink('a', 'b');
        tree.addLink('b', 'a');
        tree.addFile('a/c', '');
      },
      /in a circle/,
    ],
    [
      'a file used as a folder',
      (tree) => {
        tree.addFile('a', '');
        tree.addFile('a/b', '');
      },
      /file where a folder/,
    ],
    ['folders 300 levels deep', (tree) => tree.addFolder('a/'.repeat(300)), /levels deep/],
  ])('is refused for %s', (_, layer, message) => {
    expect(() => build(layer)).toThrow(message);
  });
});

test('what is refused is the image, for good', () => {
  const tree = createFileTree<string>();
  expect(() => tree.addFile('..', '')).toThrow(
    expect.objectContaining({ code: 'invalid_image', retryable: false }) as Error,
  );
});

describe('a whiteout', () => {
  const lower = (tree: FileTree<string>): void => {
    tree.addFile('a/old', '1');
    tree.addFile('a/deep/old', '2');
    tree.addFile('b', '3');
  };

  test('hides a file, or a folder with all that is in it', () => {
    expect(
      build(lower, (tree) => {
        tree.hide('a');
        tree.hide('nothing');
        tree.hide('b/nothing');
      }),
    ).toEqual(['b = 3']);
  });

  test.each<[string, (tree: FileTree<string>) => void]>([
    [
      'before',
      (tree) => {
        tree.hideBelow('a');
        tree.addFile('a/new', '4');
        tree.addFile('a/deep/new', '5');
      },
    ],
    [
      'after',
      (tree) => {
        tree.addFile('a/new', '4');
        tree.addFile('a/deep/new', '5');
        tree.hideBelow('a');
      },
    ],
  ])('hides only what earlier layers have, when it comes %s the new files', (_, upper) => {
    const expected = ['a/', 'a/deep/', 'a/deep/new = 5', 'a/new = 4', 'b = 3'];
    expect(build(lower, upper)).toEqual(expected);
  });

  test('works again in the next layer', () => {
    const hideAll = (tree: FileTree<string>): void => tree.hideBelow('');
    expect(build(lower, hideAll, (tree) => tree.addFile('a/new', '4'), hideAll)).toEqual([]);
  });
});

describe('limits', () => {
  test('bound how many files an image may have', () => {
    const tree = createFileTree<string>({ maxEntries: 10, maxLookUps: 1000 });
    expect(() => {
      for (let i = 0; i < 11; i++) tree.addFile(`f${i}`, '');
    }).toThrow(/more than 10 files/);
  });

  test('bound how far links may lead in all', () => {
    const tree = createFileTree<string>({ maxEntries: 1000, maxLookUps: 1000 });
    tree.addLink('l0', './'.repeat(10));
    expect(() => {
      for (let i = 1; i < 500; i++) tree.addLink(`l${i}`, `l${i - 1}/`.repeat(39));
      tree.addFile('l499/x', '');
    }).toThrow(/circle|too many/);
  });
});

test('no sequence of entries makes a tree with a name that could lead elsewhere', () => {
  const name = fc.constantFrom('a', 'b', '..', '.', '', '/', 'a/b', '../a', '/etc', 'b/../a');
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
  const step = fc.tuple(
    fc.constantFrom('folder', 'file', 'link', 'hard', 'hide', 'below', 'layer'),
    path,
    path,
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const tree = createFileTree<string>();
      for (const [what, one, other] of steps) {
        try {
          if (what === 'folder') tree.addFolder(one);
          else if (what === 'file') tree.addFile(one, 'x');
          else if (what === 'link') tree.addLink(one, other);
          else if (what === 'hard') tree.addHardLink(one, other);
          else if (what === 'hide') tree.hide(one);
          else if (what === 'below') tree.hideBelow(one);
          else tree.beginLayer();
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_image' });
        }
      }
      const check = (folder: Folder<string>): void => {
        for (const [own, child] of folder.children) {
          expect(own).toMatch(/^[^/\0]+$/);
          expect(['.', '..']).not.toContain(own);
          if (child.type === 'folder') check(child);
        }
      };
      check(tree.root);
    }),
  );
});
