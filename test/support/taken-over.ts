import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { JsonValue } from '../../src/core/json.ts';
import { provideRootfs } from '../../src/worker/sandbox/rootfs/build.ts';
import { cacheDirectory } from './cache-directory.ts';

/** What a step is given whose runner is `taken-over-runner.ts`. */
export interface TakenOverInput {
  /** Runs in the runner; what it returns is the result, and without a value none is sent. */
  readonly attack: string;
  readonly given: JsonValue;
  /** Without an attack: is given back. */
  readonly good: JsonValue;
  /** Goes by before anything happens. */
  readonly waitMs: number;
}

/**
 * A root file system for MILLRACE_RUNNER_ROOTFS, whose JavaScript runner belongs to its attackers. Everything else of it,
 * and everything around it, is what it always is.
 */
export async function provideTakenOverRootfs(): Promise<string> {
  const { root } = await provideRootfs({
    cacheDirectory: cacheDirectory(),
    path: process.env['PATH'] ?? '/usr/bin:/bin',
    bundleJavaScriptRunner: bundleRunner,
  });
  return dirname(root);
}

async function bundleRunner(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('./taken-over-runner.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
  });
  return outputFiles[0]!.text; // one file is built
}
