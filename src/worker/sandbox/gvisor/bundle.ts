import type { ImageProcess } from '../driver.ts';
import { SANDBOX_UID, SHARED_INSIDE } from '../rootfs/layout.ts';

/** What a container is made of. */
export interface BundleInput {
  readonly root: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Undefined: nothing is shared with it. */
  readonly sharedFolder: string | undefined;
  /** Of an image's program, who it is and where it starts; undefined: a runner. */
  readonly image?: Pick<ImageProcess, 'folder' | 'userId' | 'groupId'>;
  /** Absolute, as the hierarchies see it. */
  readonly cgroup: string;
  /** First of the machine's user ids that stand for those inside; undefined: no user namespace. */
  readonly firstUserId: number | undefined;
}

const MEGABYTE = 1_048_576;
const TMP_BYTES = 64 * MEGABYTE;
const SHARED_MEMORY_BYTES = 16 * MEGABYTE;
const USER_IDS = 65_536;

const tmpfs = (destination: string, bytes: number, isExecutable = false): object => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options: ['nosuid', 'nodev', ...(isExecutable ? [] : ['noexec']), 'mode=1777', `size=${bytes}`],
});

const limit = (type: string, value: number): object => ({ type, hard: value, soft: value });

/**
 * The OCI runtime specification of a sandbox: nobody's user without a capability, a read-only root, and namespaces of its
 * own. Limits of memory, processes and time are the cgroup's, which exists before runsc looks.
 *
 * There are no masked paths, because /proc is gVisor's own and shows nothing of this machine; runsc does not read them.
 * Nor is there an inode limit for /tmp: runsc takes only size, mode, uid and gid of a tmpfs (runsc/boot/vfs.go), so each
 * file counts against the cgroup's memory instead.
 */
export function makeBundle(input: BundleInput): object {
  const mapping = [{ containerID: 0, hostID: input.firstUserId, size: USER_IDS }];
  const hasUsers = input.firstUserId !== undefined;
  const { folder, userId, groupId } = input.image ?? {
    folder: '/',
    userId: SANDBOX_UID,
    groupId: SANDBOX_UID,
  };
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: userId, gid: groupId },
      args: input.command,
      env: Object.entries(input.environment).map(([name, value]) => `${name}=${value}`),
      cwd: folder,
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
      rlimits: [
        limit('RLIMIT_NOFILE', 1024),
        limit('RLIMIT_NPROC', 256),
        limit('RLIMIT_CORE', 0),
        limit('RLIMIT_MEMLOCK', 65_536),
        limit('RLIMIT_MSGQUEUE', 0),
      ],
    },
    root: { path: input.root, readonly: true },
    hostname: 'sandbox',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      // Programs of images unpack libraries of their own there; code for a runner has no such use for it.
      tmpfs('/tmp', TMP_BYTES, input.image !== undefined),
      tmpfs('/dev/shm', SHARED_MEMORY_BYTES),
      ...(input.sharedFolder === undefined
        ? []
        : [
            {
              destination: SHARED_INSIDE,
              type: 'bind',
              source: input.sharedFolder,
              options: ['bind', 'ro', 'nosuid', 'nodev'],
            },
          ]),
    ],
    linux: {
      cgroupsPath: input.cgroup,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', ...(hasUsers ? ['user'] : [])].map((type) => ({
        type,
      })),
      ...(hasUsers && { uidMappings: mapping, gidMappings: mapping }),
    },
  };
}
