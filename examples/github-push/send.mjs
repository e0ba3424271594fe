// Sends push.json as GitHub would: signed, with GitHub's headers. Needs Node 18 or newer and nothing else.
//
//   node examples/github-push/send.mjs <url> [--secret <secret>] [--delivery <uuid>]
//
// The secret is read from GITHUB_WEBHOOK_SECRET when it is not given. The same delivery id again is recognised as a
// duplicate and starts nothing.
import { createHmac, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { secret: { type: 'string' }, delivery: { type: 'string' } },
});
const [url] = positionals;
const secret = values.secret ?? process.env.GITHUB_WEBHOOK_SECRET;
if (url === undefined || secret === undefined) {
  console.error(
    'usage: node send.mjs <url> [--secret <secret>] [--delivery <uuid>]   (or GITHUB_WEBHOOK_SECRET)',
  );
  process.exit(2);
}

const body = await readFile(new URL('push.json', import.meta.url));
const response = await fetch(url, {
  method: 'POST',
  body,
  headers: {
    'content-type': 'application/json',
    'user-agent': 'GitHub-Hookshot/044aadd',
    'x-github-event': 'push',
    'x-github-delivery': values.delivery ?? randomUUID(),
    'x-github-hook-id': '292430182',
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
  },
});
console.error(`${response.status} ${response.statusText}`);
console.log(await response.text());
process.exit(response.ok ? 0 : 1);
