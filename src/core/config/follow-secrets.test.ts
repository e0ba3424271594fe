import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeTempDirectory } from '../../../test/support/temp-directory.ts';
import { waitFor } from '../../../test/support/wait-for.ts';
import { z } from '../zod.ts';
import { followSecrets } from './follow-secrets.ts';
import { textKey } from './key.ts';

const keys = {
  TOKEN: textKey(z.string().min(8), 'A secret', { secret: true }),
  OTHER: textKey(z.string().optional(), 'Another', { secret: true }),
  PLAIN: textKey(z.string().optional(), 'None', {}),
};

interface Followed {
  readonly changes: { readonly names: readonly string[]; readonly token: string }[];
  readonly errors: string[];
}

function follow(env: Readonly<Record<string, string>>, everyMs = 20): Followed {
  const followed: Followed = { changes: [], errors: [] };
  const unfollow = followSecrets({
    keys,
    env,
    everyMs,
    onChange: ({ names, config }) => followed.changes.push({ names, token: config.TOKEN }),
    onError: (error) => followed.errors.push(error.message),
  });
  if (unfollow !== undefined) onTestFinished(unfollow);
  return followed;
}

/** Long enough for several looks. */
const aWhile = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 200));

/** As kubelet writes a Secret: a folder for each state, and a link that is replaced. */
async function writeSecret(folder: string, state: string, token: string): Promise<void> {
  await mkdir(join(folder, state));
  await writeFile(join(folder, state, 'token'), token);
  await symlink(state, join(folder, 'new'));
  await rename(join(folder, 'new'), join(folder, 'data'));
}

/** All of it at once: who looks meanwhile sees no file that is only begun. */
async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

describe('followSecrets', () => {
  it('tells which key has another value, and the whole configuration with it', async () => {
    const folder = await makeTempDirectory();
    await writeSecret(folder, 'one', 'first-token\n');
    const { changes } = follow({ TOKEN_FILE: join(folder, 'data', 'token'), OTHER: 'x' });
    await aWhile();
    expect(changes).toEqual([]);

    await writeSecret(folder, 'two', 'second-token\n');
    await waitFor(() => changes.length > 0);
    await aWhile();
    expect(changes).toEqual([{ names: ['TOKEN'], token: 'second-token' }]);
  });

  it('tells once of a value that cannot be used, and goes on from the one before', async () => {
    const folder = await makeTempDirectory();
    const file = join(folder, 'token');
    await replaceFile(file, 'first-token');
    const { changes, errors } = follow({ TOKEN_FILE: file });
    await aWhile();
    await replaceFile(file, 'canary');
    await waitFor(() => errors.length > 0);
    await aWhile();
    expect(errors).toHaveLength(1);
    expect(errors[0]).not.toContain('canary');
    expect(changes).toEqual([]);

    await replaceFile(file, 'first-token');
    await aWhile();
    await replaceFile(file, 'third-token');
    await waitFor(() => changes.length > 0);
    expect(changes).toEqual([{ names: ['TOKEN'], token: 'third-token' }]);
  });

  it('looks at no file with 0', async () => {
    const file = join(await makeTempDirectory(), 'token');
    await replaceFile(file, 'first-token');
    const { changes } = follow({ TOKEN_FILE: file }, 0);
    await replaceFile(file, 'second-token');
    await aWhile();
    expect(changes).toEqual([]);
  });
});
