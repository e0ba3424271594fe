#!/usr/bin/env node
// The command `millrace`: from the sources in a clone, where Node strips the types, or from dist/ in a package or image.
// This file has to be understood by any Node that an outsider may have, so that it can say which one is needed.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 24;
// No code from strings, no __proto__ (SECURITY.md S05, S06). package.json gives the same to the other processes.
const FLAGS = ['--disallow-code-generation-from-strings', '--disable-proto=delete'];

const major = Number(process.versions.node.split('.')[0]);
if (major < NODE_MAJOR) {
  process.stderr.write(
    `millrace needs Node ${NODE_MAJOR} or newer, this is Node ${process.versions.node}.\n` +
      `In a clone, \`npm ci\` has installed the right one: run \`npx millrace …\` or \`npm start\` in the clone's folder.\n` +
      `Elsewhere, install Node ${NODE_MAJOR} from https://nodejs.org/.\n`,
  );
  process.exit(1);
}

if (!FLAGS.every((flag) => process.execArgv.includes(flag))) {
  const script = fileURLToPath(import.meta.url);
  const args = [process.execPath, ...process.execArgv, ...FLAGS, script, ...process.argv.slice(2)];
  process.execve(process.execPath, args, process.env);
}

const source = new URL('../src/cli/main.ts', import.meta.url);
const built = new URL('../dist/cli/main.js', import.meta.url);
// A clone's dist/ may be older than its sources; and Node strips no types below node_modules.
const fromSource = existsSync(source) && !fileURLToPath(source).includes('/node_modules/');
if (!fromSource && !existsSync(built)) {
  process.stderr.write('millrace is not built: run `npm run build` in its folder.\n');
  process.exit(1);
}
const { main } = await import((fromSource ? source : built).href);
await main();
