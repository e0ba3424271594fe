import type { TestProject } from 'vitest/node';
import {
  buildImages,
  buildNextRelease,
  sizesOf,
  type ImageName,
  type ImageTags,
  type Release,
} from './harness/images.ts';
import { ENVIRONMENTS, PREFIX } from '../support/manifests.ts';
import { createKubectl, removeNamespaces, type KubernetesObject, type List } from './harness/kubectl.ts';
import { findKit, type Access, type Kit } from './harness/kit.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly cluster: ClusterContext;
  }
}

export interface ClusterContext {
  readonly access: Access;
  readonly images: ImageTags;
  /** What an upgrade goes to. */
  readonly next: Release;
  readonly imageSizes: Readonly<Record<ImageName, string>>;
  /** Whether the tests made the cluster, and so may look into its node. */
  readonly isKit: boolean;
}

const say = (text: string): void => void process.stderr.write(`test:cluster: ${text}\n`);

/** One cluster with the images of this moment's sources, for all tests; a cluster that was up before stays up. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const startedAt = performance.now();
  const kit = await findKit(process.env);
  const isForeign = process.env['KUBECONFIG'] !== undefined;
  const wasUp = await kit.isUp();
  if (isForeign && !wasUp)
    throw new Error(`the cluster of KUBECONFIG=${kit.access.kubeconfig} does not answer`);
  if (!wasUp)
    say('starting a cluster: half a minute, or a quarter of an hour where nothing of it is built yet');
  // Before anything else: this and the cluster install what they need of the distribution, which takes one at a time.
  await kit.makeBaseImages();
  // It mostly waits, while the images are built.
  const starting = wasUp ? Promise.resolve() : kit.up();
  const stop = async (): Promise<void> => {
    if (wasUp || process.env['MILLRACE_CLUSTER_KEEP'] === '1') return;
    say('stopping the cluster (MILLRACE_CLUSTER_KEEP=1 leaves it up)');
    await kit.down();
  };
  try {
    const [{ images, next }] = await Promise.all([makeImages(kit), starting]);
    if (isForeign) say('images are not loaded into the cluster of KUBECONFIG: its nodes need to have them');
    else {
      await loadImages(kit, [...Object.values(images), ...Object.values(next)]);
      if (wasUp) await removeLeftovers(kit);
    }
    project.provide('cluster', {
      access: kit.access,
      images,
      next,
      imageSizes: await sizesOf(images),
      isKit: !isForeign,
    });
    say(`cluster and images are there after ${Math.round((performance.now() - startedAt) / 1000)} s`);
  } catch (error) {
    await starting.catch(() => undefined); // it is the error, or comes to an end first
    await stop();
    throw error;
  }
  return stop;
}

async function makeImages(kit: Kit): Promise<{ readonly images: ImageTags; readonly next: Release }> {
  const images = await buildImages(kit, say);
  return { images, next: await buildNextRelease(kit, images) };
}

/** What a run that was cut off has left takes the room that other environments need. */
async function removeLeftovers(kit: Kit): Promise<void> {
  const kubectl = createKubectl(kit.access);
  const { items } = await kubectl.get<List<KubernetesObject>>('default', 'namespaces');
  const ours = ENVIRONMENTS.flatMap((environment) => [
    `millrace-${PREFIX[environment]}`,
    `millrace-runners-${PREFIX[environment]}`,
  ]);
  const left = items.map(({ metadata }) => metadata.name).filter((name) => ours.includes(name));
  if (left.length === 0) return;
  say(`removing ${left.join(', ')} of an earlier run`);
  await removeNamespaces(kubectl, left);
}

async function loadImages(kit: Kit, tags: readonly string[]): Promise<void> {
  interface Node {
    readonly status: { readonly images?: readonly { readonly names?: readonly string[] }[] };
  }
  const nodes = await createKubectl(kit.access).get<List<Node>>('default', 'nodes');
  // Nodes tell of fifty images at most: one that is loaded again costs seconds.
  const known = new Set(
    nodes.items.flatMap(({ status }) => status.images ?? []).flatMap(({ names }) => names ?? []),
  );
  for (const tag of tags) {
    if (known.has(tag)) continue;
    say(`loading ${tag}`);
    await kit.loadImage(tag);
  }
}
