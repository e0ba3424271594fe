import fetch, { Headers } from 'node-fetch';
export default async () => {
  const response = await fetch('https://api.example.com/echo', { headers: new Headers({ 'x-a': 'b' }) });
  return { status: response.status, header: (await response.json()).headers['x-a'] };
};
