import { WebClient } from '@slack/web-api';
export default async () => {
  const client = new WebClient('xoxb-1', { retryConfig: { retries: 0 } });
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- of Slack, not of windows
  const { ok, ts } = await client.chat.postMessage({ channel: 'C1', text: 'hello' });
  return { ok, ts };
};
