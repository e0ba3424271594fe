import { invalidImage } from './invalid-image.ts';

/**
 * The files of an image as its layers leave them (github.com/opencontainers/image-spec, layer.md), in memory alone: links
 * are resolved here and never by the machine's own file system, so that no layer can name anything outside of its image.
 *
 * @typeParam C what stands for a file's content; names of one file (hard links) share it
 */
export interface FileTree<C> {
  readonly root: Folder<C>;
  /** What is hidden from now on is what was there before. */
  beginLayer(): void;
  addFolder(path: string): void;
  addFile(path: string, content: C): void;
  addLink(path: string, target: string): void;
  addHardLink(path: string, target: string): void;
  /** Takes away what layers before this one have at a path. */
  hide(path: string): void;
  /** Takes away what layers before this one have below a path. */
  hideBelow(path: string): void;
}

export interface Folder<C> {
  readonly type: 'folder';
  readonly children: Map<string, Node<C>>;
  /** The last layer that names it. */
  layer: number;
  /** The last layer that has hidden what was in it before. */
  cleared: number;
}
interface Leaf {
  readonly layer: number;
}
export type Node<C> =
  | Folder<C>
  | (Leaf & { readonly type: 'file'; readonly content: C })
  | (Leaf & { readonly type: 'link'; readonly target: string });

export interface TreeLimits {
  readonly maxEntries: number;
  /** Names that are looked up, those of links included: hostile links make one path thousands of names long. */
  readonly maxLookUps: number;
}

export const TREE_LIMITS: TreeLimits = { maxEntries: 400_000, maxLookUps: 20_000_000 };
const MAX_DEPTH = 200;
/** As Linux: path_resolution(7). */
const MAX_LINKS_FOLLOWED = 40;
const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = 4095;

export function createFileTree<C>(limits: TreeLimits = TREE_LIMITS): FileTree<C> {
  let layer = 0;
  let entries = 0;
  let lookUps = 0;
  const newFolder = (): Folder<C> => ({ type: 'folder', children: new Map(), layer, cleared: -1 });
  const root = newFolder();

  /** Goes where a path leads, through links too; makes what is missing, or gives undefined for it. */
  const enter = (names: readonly string[], isMade: boolean): Folder<C> | undefined => {
    const way: Folder<C>[] = [root];
    // The next name is the last one here.
    const pending = names.toReversed();
    let linksFollowed = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (++lookUps > limits.maxLookUps) throw invalidImage('has links that lead through too many others');
      if (name === '..') {
        if (way.length > 1) way.pop();
        continue;
      }
      const here = way.at(-1)!; // the root is never taken away
      let child = here.children.get(name);
      if (child === undefined) {
        if (!isMade) return undefined;
        child = newFolder();
        count();
        here.children.set(name, child);
      }
      if (child.type === 'file') {
        if (!isMade) return undefined;
        throw invalidImage(`has a file where a folder is needed: ${show(names.join('/'))}`);
      }
      if (child.type === 'folder') {
        way.push(child);
        if (way.length > MAX_DEPTH) throw invalidImage(`has folders more than ${MAX_DEPTH} levels deep`);
        continue;
      }
      if (++linksFollowed > MAX_LINKS_FOLLOWED) {
        throw invalidImage(`has links that lead in a circle: ${show(names.join('/'))}`);
      }
      if (child.target.startsWith('/')) way.length = 1;
      pending.push(...namesOf(child.target).toReversed());
    }
    return way.at(-1);
  };

  const count = (): void => {
    if (++entries > limits.maxEntries) throw invalidImage(`has more than ${limits.maxEntries} files`);
  };
  const place = (path: string): readonly [Folder<C>, string] | undefined => {
    const names = entryNames(path);
    const name = names.pop();
    if (name === undefined) return undefined;
    return [enter(names, true)!, name]; // made where missing
  };
  const put = (path: string, node: Node<C>): void => {
    const [folder, name] = place(path) ?? [];
    if (folder === undefined || name === undefined) throw invalidImage('has an entry without a name');
    count();
    folder.children.set(name, node);
  };

  /** Takes away what is of earlier layers; false when nothing is left. */
  const keepsOwn = (node: Node<C>): boolean => {
    if (node.type !== 'folder') return node.layer === layer;
    clear(node);
    return node.layer === layer || node.children.size > 0;
  };
  const clear = (folder: Folder<C>): void => {
    // What came in since is of this very layer.
    if (folder.cleared === layer) return;
    folder.cleared = layer;
    for (const [name, child] of folder.children) if (!keepsOwn(child)) folder.children.delete(name);
  };

  return {
    root,
    beginLayer: () => void layer++,
    addFolder(path) {
      const [folder, name] = place(path) ?? [];
      if (folder === undefined || name === undefined) return; // the root, which is there
      count();
      const known = folder.children.get(name);
      if (known?.type === 'folder') known.layer = layer;
      else folder.children.set(name, newFolder());
    },
    addFile: (path, content) => put(path, { type: 'file', content, layer }),
    addLink(path, target) {
      if (target === '' || target.includes('\0') || Buffer.byteLength(target) > MAX_TARGET_BYTES) {
        throw invalidImage(`has a link that leads to no path: ${show(path)}`);
      }
      put(path, { type: 'link', target, layer });
    },
    addHardLink(path, target) {
      const names = entryNames(target);
      const name = names.pop();
      const node = name === undefined ? undefined : enter(names, false)?.children.get(name);
      if (node === undefined || node.type === 'folder') {
        throw invalidImage(`has a hard link to what is no file of it: ${show(path)} to ${show(target)}`);
      }
      put(path, { ...node, layer });
    },
    hide(path) {
      const names = entryNames(path);
      const name = names.pop();
      const folder = enter(names, false);
      const node = name === undefined ? undefined : folder?.children.get(name);
      if (folder === undefined || name === undefined || node === undefined) return;
      if (!keepsOwn(node)) folder.children.delete(name);
    },
    hideBelow(path) {
      const folder = enter(entryNames(path), false);
      if (folder !== undefined) clear(folder);
    },
  };
}

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');

/** The names in an entry's path, which may not go up. */
function entryNames(path: string): string[] {
  const names = namesOf(path);
  for (const name of names) {
    if (name === '..') throw invalidImage(`has an entry that leads out of its folder: ${show(path)}`);
    if (name.includes('\0') || Buffer.byteLength(name) > MAX_NAME_BYTES) {
      throw invalidImage(`has an entry whose name no file can have: ${show(path)}`);
    }
  }
  return names;
}

const SHOWN_CHARACTERS = 120;
const show = (path: string): string => JSON.stringify(path.slice(0, SHOWN_CHARACTERS));
