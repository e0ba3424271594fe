import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { coerceError, errorCodeOf } from '../../core/errors/app-error.ts';
import { z } from '../../core/zod.ts';

const run = promisify(execFile);

/** Asks the API server for what is at a path; undefined where there is nothing. */
export type Ask = (path: string) => Promise<unknown>;

const REQUEST_TIMEOUT = '10s';

/** With kubectl's own configuration, so whatever signs people in there does so here. */
export const askWithKubectl =
  (context: string | undefined): Ask =>
  async (path) => {
    const args = ['get', '--raw', path, `--request-timeout=${REQUEST_TIMEOUT}`];
    try {
      const { stdout } = await run('kubectl', [...contextOf(context), ...args], {
        maxBuffer: 64 * 1024 * 1024,
      });
      return JSON.parse(stdout) as unknown;
    } catch (raw) {
      if (errorCodeOf(raw) === 'ENOENT')
        throw new Error('kubectl is not installed, or not on the PATH', { cause: raw });
      const said = (raw as { readonly stderr?: string }).stderr?.trim() ?? coerceError(raw).message;
      if (/\(NotFound\)|could not find the requested resource/i.test(said)) return undefined;
      throw new Error(said.split('\n').at(-1), { cause: raw });
    }
  };

/** The namespace of a context, as kubectl would use it. */
export async function currentNamespace(context: string | undefined): Promise<string> {
  const { stdout } = await run('kubectl', [
    ...contextOf(context),
    'config',
    'view',
    '--minify',
    '-o',
    'jsonpath={..namespace}',
  ]);
  return stdout.trim() || 'default';
}

const contextOf = (context: string | undefined): readonly string[] =>
  context === undefined ? [] : ['--context', context];

const reference = z.looseObject({
  name: z.string(),
  key: z.string().optional(),
  optional: z.boolean().optional(),
});
export const podSpec = z.looseObject({
  runtimeClassName: z.string().optional(),
  volumes: z
    .array(
      z.looseObject({
        secret: z
          .looseObject({
            secretName: z.string(),
            optional: z.boolean().optional(),
            items: z.array(z.looseObject({ key: z.string() })).optional(),
          })
          .optional(),
      }),
    )
    .default([]),
  containers: z
    .array(
      z.looseObject({
        name: z.string(),
        env: z
          .array(
            z.looseObject({
              name: z.string(),
              value: z.string().optional(),
              valueFrom: z
                .looseObject({ secretKeyRef: reference.optional(), configMapKeyRef: reference.optional() })
                .optional(),
            }),
          )
          .default([]),
      }),
    )
    .default([]),
});
const workloads = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ replicas: z.number().optional(), template: z.looseObject({ spec: podSpec }) }),
      status: z
        .looseObject({ availableReplicas: z.number().default(0), succeeded: z.number().default(0) })
        .default({ availableReplicas: 0, succeeded: 0 }),
    }),
  ),
});
export type Workload = z.output<typeof workloads>['items'][number];

export const listOf = async (ask: Ask, path: string): Promise<readonly Workload[]> =>
  workloads.parse((await ask(path)) ?? { items: [] }).items;
