import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dropPrivileges } from './privileges.ts';

const run = promisify(execFile);
const NOBODY = { uid: 65_532, gid: 65_532 };
const isRoot = process.getuid?.() === 0;

// Dropping itself cannot be undone: test/integration/sandbox/driver-crash.test.ts does it in a process of its own.
describe('giving up root', () => {
  it.for([
    { uid: 0, gid: 1 },
    { uid: 1, gid: 0 },
    { uid: -1, gid: 1 },
    { uid: 1.5, gid: 1 },
    { uid: 4_294_967_295, gid: 1 },
  ])('refuses %j', async (identity) => {
    await expect(dropPrivileges(identity, { readable: [], writable: [] })).rejects.toThrow(RangeError);
  });

  it.runIf(!isRoot)('has nothing to do for anyone else', async () => {
    expect(await dropPrivileges(NOBODY, { readable: [], writable: [] })).toMatchObject({ isDropped: false });
  });

  describe.runIf(isRoot)('keeps it', () => {
    let folder: string;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
    });
    afterEach(() => rm(folder, { recursive: true }));

    it('when a folder above what is needed cannot be passed', async () => {
      await mkdir(join(folder, 'project'));
      const outcome = await dropPrivileges(NOBODY, { readable: [join(folder, 'project')], writable: [] });
      expect(outcome).toEqual({
        isDropped: false,
        description: `root was kept: uid 65532 cannot pass ${folder}`,
      });
      expect(process.getuid?.()).toBe(0);
    });

    it('when a file that is needed cannot be read', async () => {
      await chmod(folder, 0o755);
      const file = join(folder, 'main.ts');
      await writeFile(file, '', { mode: 0o640 });
      expect(await dropPrivileges(NOBODY, { readable: [folder, file], writable: [] })).toEqual({
        isDropped: false,
        description: `root was kept: uid 65532 cannot read ${file}`,
      });
    });

    it('when a folder cannot be given away', async () => {
      await chmod(folder, 0o755);
      const given = join(folder, 'state');
      const paths = { readable: [], writable: [given] };
      const script = `
        import { dropPrivileges } from ${JSON.stringify(new URL('privileges.ts', import.meta.url).href)};
        console.log(JSON.stringify(await dropPrivileges(${JSON.stringify(NOBODY)}, ${JSON.stringify(paths)})));`;
      const node = [process.execPath, '--input-type=module', '--eval', script];
      const { stdout } = await run('setpriv', ['--inh-caps=-all', '--bounding-set=-chown', ...node]);
      expect(JSON.parse(stdout)).toEqual({
        isDropped: false,
        description: `root was kept: uid 65532 cannot be given ${given} (EPERM; it takes CAP_CHOWN)`,
      });
    });

    it('and gives no folder away then', async () => {
      const given = join(folder, 'state');
      const { isDropped } = await dropPrivileges(NOBODY, { readable: [], writable: [given] });
      expect(isDropped).toBe(false);
      expect((await stat(given)).uid).toBe(0);
    });
  });
});
