import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from '../../src/core/zod.ts';
import { PROJECT_ROOT } from '../support/processes.ts';

/** https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-EncryptionConfiguration */
const configuration = z.strictObject({
  apiVersion: z.literal('apiserver.config.k8s.io/v1'),
  kind: z.literal('EncryptionConfiguration'),
  resources: z.array(
    z.strictObject({
      resources: z.array(z.string()).min(1),
      providers: z
        .array(
          z.union([
            z.strictObject({
              secretbox: z.strictObject({
                keys: z.array(z.strictObject({ name: z.string(), secret: z.string() })).min(1),
              }),
            }),
            z.strictObject({ identity: z.strictObject({}) }),
          ]),
        )
        .min(1),
    }),
  ),
});

it('the document’s configuration of encryption at rest writes Secrets encrypted, and reads those of before', async () => {
  const document = await readFile(join(PROJECT_ROOT, 'docs/kubernetes.md'), 'utf8');
  const [, block] = /\n## Secrets at rest\n[^#]*?\n```yaml\n([^`]*)```/.exec(document)!;
  const { resources } = configuration.parse(parse(block!));
  expect(resources.map((one) => one.resources)).toEqual([['secrets']]);
  // The API server writes with the first, and reads with all.
  expect(resources[0]!.providers.map((one) => Object.keys(one))).toEqual([['secretbox'], ['identity']]);
});
