import { rm } from 'node:fs/promises';

/** Removes a folder of processes that were killed: what these had started may write in it a moment longer. */
export async function removeDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
