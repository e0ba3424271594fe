import axios from 'axios';
export default async () => {
  const client = axios.create({ baseURL: 'https://api.example.com', headers: { 'x-tenant': 't' } });
  const { data, status } = await client.post('/echo', { a: 1 });
  return { status, method: data.method, body: JSON.parse(data.body) };
};
