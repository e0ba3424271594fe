// Compiles src/ into dist/ and copies what the compiler leaves out: the migrations and the Python runner.
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [`${root}node_modules/typescript/bin/tsc`, '-p', `${root}tsconfig.build.json`],
  {
    stdio: 'inherit',
  },
);
cpSync(`${root}src/core/db/migrations`, `${root}dist/core/db/migrations`, { recursive: true });
cpSync(`${root}src/runner/python`, `${root}dist/runner/python`, {
  recursive: true,
  filter: (file) => !file.endsWith('__pycache__'),
});
