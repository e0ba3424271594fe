import type { Scope } from '../../expressions/types.ts';
import { isRecord, type JsonValue } from '../../json.ts';
import { terminalError } from '../../step-error.ts';
import { z } from '../../zod.ts';
import { closed } from '../fields.ts';
import { preview, type Finding } from '../findings.ts';
import { IMAGE_PATTERN, isImageReference } from '../image-reference.ts';
import type { CompiledContainer, Value } from '../types.ts';
import { says } from '../zod-findings.ts';
import { below, defineKind, templateSites, type RawStep } from './kind.ts';
import {
  checkSandboxKeys,
  compileSandboxFields,
  listedCredentials,
  resourcesField,
  secretsField,
} from './sandbox-keys.ts';

const MAX_ENTRIES = 1000;
/** POSIX.1-2017, section 8.1, with the lower case that other programs use. */
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

function imageHint(issue: z.core.$ZodRawIssue): string {
  const { input } = issue;
  if (typeof input === 'string' && input.includes('${{')) {
    return says(
      'must be written out: no data decides what runs',
      'write the image, and put the data into `args` or `env`',
    )();
  }
  const lower = typeof input === 'string' ? lowerRepository(input) : '';
  const fix =
    input !== lower && isImageReference(lower)
      ? `write \`${lower}\``
      : 'write one such as `ghcr.io/acme/tool:1.2`, or with its digest: `ghcr.io/acme/tool@sha256:…`';
  return says('must be the reference of an OCI image', fix)();
}

/** Tags have upper case, the names before them have not. */
const lowerRepository = (reference: string): string =>
  reference.replace(/^[^@]*?(?=(?::[^/@]*)?(?:@|$))/, (name) => name.toLowerCase());

const textHint = {
  error: says('must be text, a number, true or false', 'write text, which may hold `${{ }}`'),
};
const textField = z.union([z.string(), z.number(), z.boolean()], textHint);
const listHint = (key: string) => ({
  error: says(
    `must be a list of texts, at most ${MAX_ENTRIES}`,
    `write \`${key}: [convert, "\${{ trigger.body.name }}"]\``,
  ),
});
const listField = (key: string) => z.array(textField, listHint(key)).max(MAX_ENTRIES, listHint(key));
const nameHint = {
  error: says(
    'must be letters, digits and underscores, not beginning with a digit',
    'write a name such as `REPORT_DATE`',
  ),
};
const envHint = {
  error: says(
    `must be an object of at most ${MAX_ENTRIES} variables`,
    'write `env: { REPORT_DATE: "${{ trigger.body.date }}" }`',
  ),
};

const NO_NETWORK = 'has no effect on a `container` step, which has no network in this release';
const CALL_ELSEWHERE =
  'remove it; call the service from an `http` or `code` step that this one needs, and hand over what came back';

export const container = defineKind({
  kind: 'container',
  description: 'Runs a container image in a sandbox of its own, without a network',
  schema: closed(
    'must be an object with an `image`',
    'write `container: { image: "ghcr.io/acme/tool:1.2" }`',
    {
      image: z
        .string({ error: imageHint })
        .refine(isImageReference, { error: imageHint })
        .meta({ pattern: IMAGE_PATTERN.source, examples: ['ghcr.io/acme/tool:1.2'] }),
      command: listField('command').min(1, listHint('command')).optional(),
      args: listField('args').optional(),
      env: z
        .record(z.string().regex(VARIABLE_NAME, nameHint), textField, envHint)
        .refine((env) => Object.keys(env).length <= MAX_ENTRIES, envHint)
        .optional(),
    },
  ),
  keys: { secrets: secretsField.optional(), resources: resourcesField.optional() },
  refusedKeys: {
    egress: { code: 'not_supported', message: `\`egress\` ${NO_NETWORK}`, fix: CALL_ELSEWHERE },
    credentials: { code: 'not_supported', message: `\`credentials\` ${NO_NETWORK}`, fix: CALL_ELSEWHERE },
    isolation: {
      code: 'no_effect',
      message: '`isolation` has no effect on a `container` step, which has a sandbox of its own in any case',
      fix: 'remove it',
    },
  },
  sites: (step) => templateSites(['container'], step.container, ['command', 'args', 'env']),
  credentials: listedCredentials,
  check: (step, context) => [...checkSandboxKeys(step, context), ...checkVariables(step)],
  compile: (step, values): CompiledContainer => {
    const { image, command, args, env } = step.container;
    const optional = (json: unknown) => (json === undefined ? undefined : values.template(json));
    return {
      ...compileSandboxFields(step),
      isolation: 'execution',
      image,
      command: optional(command),
      args: optional(args),
      env: optional(env),
    };
  },
});

/** The environment variable that a container finds a secret in: `signing-key` is `SIGNING_KEY`. */
export const secretVariable = (credential: string): string => credential.toUpperCase().replaceAll('-', '_');

function checkVariables({ container: body, secrets }: RawStep): readonly Finding[] {
  if (!isRecord(body) || !isRecord(body.env) || !Array.isArray(secrets)) return [];
  const { env } = body;
  const taken = secrets.filter(
    (name): name is string => typeof name === 'string' && Object.hasOwn(env, secretVariable(name)),
  );
  return below(
    ['container', 'env'],
    taken.slice(0, 10).map((name) => ({
      path: [secretVariable(name)],
      at: 'key',
      code: 'conflict',
      message: `\`${secretVariable(name)}\` is the variable of the secret \`${name}\``,
      fix: 'rename this variable, or remove the secret',
    })),
  );
}

/** What a container is started with, beside its secrets. */
export interface RenderedContainer {
  /** Undefined: what the image says. */
  readonly command: readonly string[] | undefined;
  readonly args: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** @throws StepError `invalid_input` for what no process can be given, ExpressionError from evaluating. */
export function renderContainer(body: CompiledContainer, scope: Scope): RenderedContainer {
  const list = (key: 'command' | 'args', value: Value | undefined): readonly string[] | undefined => {
    if (value === undefined) return undefined;
    // A template keeps the shape that its schema gives it.
    const entries = value.evaluate(scope) as readonly JsonValue[];
    return entries.map((entry, index) => textOf(`container.${key}[${index}]`, entry));
  };
  const env = (body.env?.evaluate(scope) ?? {}) as Readonly<Record<string, JsonValue>>;
  return {
    command: list('command', body.command),
    args: list('args', body.args),
    env: Object.fromEntries(
      Object.entries(env)
        .filter(([, value]) => value !== null)
        .map(([name, value]) => [name, textOf(`container.env.${name}`, value)]),
    ),
  };
}

function textOf(place: string, value: JsonValue): string {
  if (value !== null && typeof value !== 'object' && !String(value).includes('\0')) return String(value);
  throw terminalError(
    'invalid_input',
    `\`${place}\` must be text without NUL, a number, true or false, got ${preview(value)}; ` +
      'write `toJson(…)` inside `${{ }}` to hand over a whole value',
  );
}
