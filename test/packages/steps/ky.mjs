import ky from 'ky';
export default async () =>
  JSON.parse((await ky.post('https://api.example.com/echo', { json: { a: 1 } }).json()).body);
