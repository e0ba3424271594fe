// A webhook that starts a durable workflow of three steps, and answers 202 once the start is in PostgreSQL.
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { DBOS } from '@dbos-inc/dbos-sdk';
import { pick, reckon, shape } from './steps.mjs';

const workflow = DBOS.registerWorkflow(
  async (body) => {
    const picked = await DBOS.runStep(async () => pick(body), { name: 'pick' });
    const reckoned = await DBOS.runStep(async () => reckon(picked), { name: 'reckon' });
    return DBOS.runStep(async () => shape(picked, reckoned), { name: 'shape' });
  },
  { name: 'bench' },
);

DBOS.setConfig({
  name: 'bench',
  systemDatabaseUrl: process.env.DATABASE_URL,
  systemDatabasePoolSize: Number(process.env.POOL_SIZE),
  runAdminServer: false,
  logLevel: 'error',
});
await DBOS.launch();

createServer((request, response) => {
  const end = (status, text) => response.writeHead(status, { 'content-type': 'application/json' }).end(text);
  buffer(request)
    .then((bytes) => DBOS.startWorkflow(workflow)(JSON.parse(bytes.toString())))
    .then(({ workflowID }) => end(202, JSON.stringify({ workflowID })))
    .catch((error) => end(500, JSON.stringify({ error: String(error) })));
}).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('listening'));
