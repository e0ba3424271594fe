import { parseHostPattern, type HostPattern } from '../../credentials/types.ts';
import { isRecord } from '../../json.ts';
import { z } from '../../zod.ts';
import { closed, credentialField, enumField } from '../fields.ts';
import { preview, type Finding, type Path } from '../findings.ts';
import {
  CPU_PATTERN,
  formatMemory,
  GIBIBYTE,
  MEBIBYTE,
  MEMORY_PATTERN,
  parseCpus,
  parseMemory,
} from '../quantities.ts';
import type { SandboxNeeds } from '../types.ts';
import { says } from '../zod-findings.ts';
import type { CheckContext, CredentialPurpose, CredentialUse, MaxResources, RawStep } from './kind.ts';

/** The keys that say what a step that runs in a sandbox may use. `egress` restricts `http` steps, too. */

const MAX_LISTED = 100;
const MAX_HOST_LENGTH = 260;
export const MIN_CPUS = 0.1;
export const MAX_CPUS = 64;
export const MIN_MEMORY_BYTES = 64 * MEBIBYTE;
export const MAX_MEMORY_BYTES = 256 * GIBIBYTE;

function hostHint(issue: z.core.$ZodRawIssue): string {
  const what = 'must be a host, such as `api.example.com`, `api.example.com:8443` or `*.example.com`';
  const { input } = issue;
  const url = typeof input === 'string' && input.includes('://') ? URL.parse(input) : null;
  if (input === '*' || input === '*:*') {
    return says(what, 'list the hosts that the step calls; there is no way to allow them all')();
  }
  const host = url?.host ?? '';
  const fix = host === '' ? 'write a host without scheme and path' : `write \`${host}\``;
  return says(what, `${fix}; \`*.\` stands for every name below a domain of at least two labels`)();
}

const listHint = (key: string, what: string, example: string) => ({
  error: says(`must be a list of ${what}, at most ${MAX_LISTED}`, `write \`${key}: [${example}]\``),
});

export const egressField = z
  .array(
    z
      .string({ error: hostHint })
      .max(MAX_HOST_LENGTH, { error: hostHint, abort: true })
      .refine((host) => parseHostPattern(host) !== undefined, { error: hostHint })
      .meta({ examples: ['api.example.com', '*.example.com', 'db.example.com:8443'] }),
    listHint('egress', 'hosts', 'api.example.com'),
  )
  .max(MAX_LISTED, listHint('egress', 'hosts', 'api.example.com'))
  .describe('Hosts that it may call, beside those of its credentials; no others');

export const credentialsField = z
  .array(credentialField, listHint('credentials', 'names of credentials', 'crm'))
  .max(MAX_LISTED, listHint('credentials', 'names of credentials', 'crm'))
  .describe('Credentials that `ctx.fetch` may add to requests; the code never sees them');

export const secretsField = z
  .array(credentialField, listHint('secrets', 'names of credentials', 'signing-key'))
  .max(MAX_LISTED, listHint('secrets', 'names of credentials', 'signing-key'))
  .describe('Credentials of type `secret` whose values the code gets');

export const isolationField = enumField(['execution', 'process']).describe(
  '`execution`: a sandbox that is used for nothing else; `process`: for Python, a process that is',
);

const cpuHint = {
  error: says(
    `must be cores from ${MIN_CPUS} to ${MAX_CPUS}`,
    'write an amount such as `0.5`, `500m` or `2`',
  ),
};
const memoryHint = {
  error: says(
    `must be an amount of memory from ${formatMemory(MIN_MEMORY_BYTES)} to ${formatMemory(MAX_MEMORY_BYTES)}`,
    'write an amount such as `512Mi`, `1Gi` or a number of bytes',
  ),
};
const isBetween = (value: number | undefined, min: number, max: number): boolean =>
  value !== undefined && value >= min && value <= max;

const RESOURCES_FIX = 'write `resources: { cpu: 0.5, memory: 512Mi }`';
export const resourcesField = closed('must be an object with `cpu` or `memory`', RESOURCES_FIX, {
  cpu: z
    .union([z.number(), z.string().regex(CPU_PATTERN, { ...cpuHint, abort: true })], cpuHint)
    .refine((cpu) => isBetween(parseCpus(cpu), MIN_CPUS, MAX_CPUS), cpuHint)
    .meta({ examples: [0.5, '500m', 2] })
    .optional(),
  memory: z
    .union([z.number(), z.string().regex(MEMORY_PATTERN, { ...memoryHint, abort: true })], memoryHint)
    .refine((memory) => isBetween(parseMemory(memory), MIN_MEMORY_BYTES, MAX_MEMORY_BYTES), memoryHint)
    .meta({ examples: ['512Mi', '1Gi'] })
    .optional(),
})
  .meta({ minProperties: 1 })
  .describe('What its sandbox may use at most');

/** Those of them that a step may have; none is required. */
export interface SandboxFields {
  readonly egress?: readonly string[] | undefined;
  readonly credentials?: readonly string[] | undefined;
  readonly secrets?: readonly string[] | undefined;
  readonly isolation?: 'execution' | 'process' | undefined;
  readonly resources?:
    { readonly cpu?: number | string | undefined; readonly memory?: number | string | undefined } | undefined;
}

/** Of fields that were found valid. */
export function compileSandboxFields(fields: SandboxFields): SandboxNeeds {
  const { cpu, memory } = fields.resources ?? {};
  return {
    egress: compileEgress(fields.egress ?? []),
    credentials: fields.credentials ?? [],
    secrets: fields.secrets ?? [],
    isolation: fields.isolation ?? 'shared',
    cpus: cpu === undefined ? undefined : parseCpus(cpu),
    memoryBytes: memory === undefined ? undefined : parseMemory(memory),
  };
}

export const compileEgress = (hosts: readonly string[]): readonly HostPattern[] =>
  hosts.flatMap((host) => parseHostPattern(host) ?? []);

/** The credentials that a step lists beside its kind. */
export function listedCredentials(step: RawStep): readonly CredentialUse[] {
  const uses = (key: string, purpose: CredentialPurpose): readonly CredentialUse[] =>
    stringsOf(step[key]).map(({ index, text }) => ({ path: [key, index], name: text, purpose }));
  return [...uses('credentials', 'send'), ...uses('secrets', 'read')];
}

/** What the schema cannot tell of these keys. */
export function checkSandboxKeys(
  step: RawStep,
  { maxResources }: Pick<CheckContext, 'maxResources'>,
): readonly Finding[] {
  return [
    ...['egress', 'credentials', 'secrets'].flatMap((key) => checkRepeated(step[key], [key])),
    ...(isRecord(step.resources) ? checkResources(step.resources, maxResources) : []),
  ];
}

function checkResources(resources: RawStep, max: MaxResources | undefined): readonly Finding[] {
  if (Object.keys(resources).length === 0) {
    const message = '`resources` has neither `cpu` nor `memory`';
    return [{ path: ['resources'], code: 'required', message, fix: RESOURCES_FIX }];
  }
  if (max === undefined) return [];
  return [
    ...checkMaximum(resources, 'cpu', parseCpus, max.cpus, String),
    ...checkMaximum(resources, 'memory', parseMemory, max.memoryBytes, formatMemory),
  ];
}

function checkRepeated(list: unknown, path: Path): readonly Finding[] {
  const seen = new Set<string>();
  return stringsOf(list).flatMap(({ index, text }): readonly Finding[] => {
    if (!seen.has(text)) {
      seen.add(text);
      return [];
    }
    const message = `${preview(text)} is listed twice`;
    return [{ path: [...path, index], code: 'conflict', message, fix: 'keep one of them' }];
  });
}

function checkMaximum(
  resources: RawStep,
  key: 'cpu' | 'memory',
  parse: (written: number | string) => number | undefined,
  max: number,
  format: (value: number) => string,
): readonly Finding[] {
  const written = resources[key];
  const value = typeof written === 'string' || typeof written === 'number' ? parse(written) : undefined;
  if (value === undefined || value <= max) return [];
  return [
    {
      path: ['resources', key],
      code: 'invalid_value',
      message: `\`${key}\` must be at most ${format(max)} here, got ${preview(written)}`,
      fix: 'ask for less, or have the maximum raised by whoever runs this installation',
    },
  ];
}

/** No more than the schema takes, so that no document makes this slow. */
const stringsOf = (list: unknown): readonly { readonly index: number; readonly text: string }[] =>
  Array.isArray(list)
    ? list
        .slice(0, MAX_LISTED)
        .flatMap((text: unknown, index) => (typeof text === 'string' ? [{ index, text }] : []))
    : [];
