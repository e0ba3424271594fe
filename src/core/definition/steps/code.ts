import { z } from '../../zod.ts';
import {
  CODE_EXTENSIONS,
  filePathPattern,
  filePathProblem,
  languageOf,
  NOTEBOOK_EXTENSIONS,
} from '../file-path.ts';
import type { Finding } from '../findings.ts';
import type { CompiledCode } from '../types.ts';
import { says } from '../zod-findings.ts';
import { defineKind, type RawStep } from './kind.ts';
import {
  checkSandboxKeys,
  compileSandboxFields,
  credentialsField,
  egressField,
  isolationField,
  listedCredentials,
  resourcesField,
  secretsField,
} from './sandbox-keys.ts';

/** Steps whose work is a file of the author's: `code` and `notebook`. */

function fileField(extensions: readonly string[], example: string) {
  const hint = (issue: z.core.$ZodRawIssue): string => {
    const problem =
      typeof issue.input === 'string' ? filePathProblem(issue.input, extensions, example) : undefined;
    return says(
      problem?.what ?? 'must be the path of a file',
      problem?.fix ?? `write a path such as \`${example}\``,
    )();
  };
  return z
    .string({ error: hint })
    .refine((path) => filePathProblem(path, extensions, example) === undefined, { error: hint })
    .meta({ pattern: filePathPattern(extensions).source, examples: [example] });
}

const KEYS = {
  egress: egressField.optional(),
  credentials: credentialsField.optional(),
  secrets: secretsField.optional(),
  isolation: isolationField.optional(),
  resources: resourcesField.optional(),
} as const;

export const code = defineKind({
  kind: 'code',
  description:
    'Runs a function of TypeScript, JavaScript or Python in a sandbox; its output is what it returns',
  schema: fileField(CODE_EXTENSIONS, 'steps/score.ts'),
  keys: KEYS,
  sites: () => [],
  credentials: listedCredentials,
  check: (step, context) => [...checkSandboxKeys(step, context), ...checkIsolation(step)],
  compile: (step): CompiledCode => {
    const language = languageOf(step.code);
    if (language === undefined) throw new Error(`${step.code} is in no language of this release`);
    return { ...compileSandboxFields(step), file: step.code, language };
  },
});

export const notebook = defineKind({
  kind: 'notebook',
  description: 'Runs a Jupyter notebook in a sandbox',
  schema: fileField(NOTEBOOK_EXTENSIONS, 'analysis/report.ipynb'),
  keys: KEYS,
  sites: () => [],
  credentials: listedCredentials,
  check: checkSandboxKeys,
  compile: (step) => ({ ...compileSandboxFields(step), file: step.notebook }),
});

function checkIsolation(step: RawStep): readonly Finding[] {
  const language = typeof step.code === 'string' ? languageOf(step.code) : undefined;
  if (step.isolation !== 'process' || language === undefined || language === 'python') return [];
  return [
    {
      path: ['isolation'],
      code: 'conflict',
      message: '`isolation: process` is for Python alone',
      fix: 'write `isolation: execution`, or remove it: each execution has fresh state without it',
    },
  ];
}
