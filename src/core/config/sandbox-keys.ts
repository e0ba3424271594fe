import { isIP } from 'node:net';
import { z } from '../zod.ts';
import type { Identity } from '../privileges.ts';
import { parseAllowedImages, type AllowedImage } from '../sandbox/allowed-images.ts';
import { choiceKey, integerKey, parsedKey, textKey } from './key.ts';
import { cpusKey } from './keys.ts';

const MIB = 1_048_576;

const pathKey = (description: string, defaultText?: string) =>
  textKey(
    z.string().regex(/^\//, 'must be an absolute path').optional(),
    description,
    defaultText === undefined ? {} : { defaultText },
  );

const nameKey = (description: string, defaultText?: string) =>
  textKey(
    z
      .string()
      .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be a name of Kubernetes, such as millrace-runners')
      .optional(),
    description,
    defaultText === undefined ? {} : { defaultText },
  );

/** Undefined: root is kept. */
function parseRunAs(text: string): Identity | undefined {
  if (text === 'root') return undefined;
  const [, uid, gid] = /^([1-9]\d{0,8}):([1-9]\d{0,8})$/.exec(text) ?? [];
  if (uid === undefined || gid === undefined)
    throw new Error('must be `uid:gid`, such as 65532:65532, or `root`');
  return { uid: Number(uid), gid: Number(gid) };
}

/** How a worker runs code steps (DESIGN section 6). */
export const sandboxKeys = {
  PATH: textKey(
    z.string().default('/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'),
    'Where programs such as `runsc` and `python3` are looked for',
    {
      defaultText: 'the system’s folders',
    },
  ),
  SANDBOX_DRIVER: choiceKey(
    'What code steps run in: `gvisor`; `kubernetes`, pods of RUNNER_NAMESPACE; `process`, which isolates far less and is for development alone; `none`; `auto` is kubernetes where RUNNER_NAMESPACE is set, gVisor where this machine can, else none',
    ['auto', 'gvisor', 'kubernetes', 'process', 'none'],
    'auto',
  ),
  MILLRACE_RUNSC: pathKey('gVisor’s `runsc`', 'looked for in the cache folder, then on the PATH'),
  MILLRACE_RUNNER_ROOTFS: pathKey('A root file system for sandboxes, already built', 'built at first start'),
  XDG_CACHE_HOME: pathKey(
    'Holds the folder `millrace` with what can be made again: root file systems, runsc, unpacked packages',
    '`~/.cache`',
  ),
  SANDBOX_IMAGES_DIR: pathKey(
    'Images of `container` steps on one machine: a folder that is an OCI image layout, or has some in it. Every tenant may run each of them',
    'none: container steps fail',
  ),
  SANDBOX_IMAGES_ALLOW: parsedKey<readonly AllowedImage[]>(
    'Images of `container` steps that runner pods may run, comma separated: `ghcr.io/acme/` for all below it, `ghcr.io/acme/tool`, or one with its tag or digest. Every tenant may run each of them',
    parseAllowedImages,
    { default: '', defaultText: 'none: container steps fail on Kubernetes' },
  ),
  SANDBOX_STATE_DIR: pathKey(
    'Where the files of running sandboxes are; they go with them',
    'in the cache folder',
  ),
  RUNNER_NAMESPACE: nameKey('The namespace of runner pods, on Kubernetes', 'none: there are no runner pods'),
  GATEWAY_NAME: nameKey(
    'The Service by which runner pods find their way, and the Secret with its certificate, in the namespace of the worker',
  ),
  GATEWAY_PORT: integerKey('Port on which runner pods dial in', { default: 8082, min: 1, max: 65_535 }),
  POD_NAME: nameKey('The pod of this worker'),
  POD_NAMESPACE: nameKey('Its namespace'),
  POD_IP: textKey(
    z
      .string()
      .refine((text) => isIP(text) !== 0, 'must be an IP address')
      .optional(),
    'Its address',
  ),
  KUBERNETES_SERVICE_HOST: textKey(z.string().optional(), 'The API server; Kubernetes sets it'),
  KUBERNETES_SERVICE_PORT: integerKey('Its port; Kubernetes sets it', { default: 443, min: 1, max: 65_535 }),
  WORKER_RUN_AS: parsedKey<Identity | undefined>(
    'Who `npm run worker` goes on as when it was started as root and sandboxes can be started: `uid:gid`, or `root`',
    parseRunAs,
    { default: '65532:65532' },
  ),
  SANDBOX_SPARES_JAVASCRIPT: integerKey('Warmed sandboxes kept ready for TypeScript and JavaScript', {
    default: 2,
    min: 0,
    max: 4,
  }),
  SANDBOX_SPARES_PYTHON: integerKey('Warmed sandboxes kept ready for Python', {
    default: 1,
    min: 0,
    max: 4,
  }),
  SANDBOX_MEMORY_BUDGET_BYTES: integerKey(
    'Memory for sandboxes; one counts 100 MiB, or what its `resources` ask for',
    { default: 2048 * MIB, min: 256 * MIB, max: 1024 * 1024 * MIB },
  ),
  SANDBOX_MEMORY_BYTES: integerKey('Memory limit of a sandbox whose step asks for nothing else', {
    default: 256 * MIB,
    min: 128 * MIB,
    max: 16_384 * MIB,
  }),
  SANDBOX_CPUS: cpusKey('Cores that such a sandbox may use', '1'),
  SANDBOX_CLAIM_TIMEOUT_MS: integerKey('How long an attempt waits for a place in a sandbox', {
    default: 60_000,
    min: 1000,
    max: 600_000,
  }),
} as const;
